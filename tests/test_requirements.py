"""What is installed is listed in requirements/ with the hashes of its files, and nothing else gets in."""

import base64
import hashlib
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distributions

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kits.house import ROOT

pytestmark = pytest.mark.integration

LISTS = sorted((ROOT / "requirements").glob("*.txt"))
PROJECTS = [tomllib.loads(path.read_text())["project"] for path in ROOT.glob("services/*/pyproject.toml")]
OURS = {project["name"] for project in PROJECTS}
DIGEST = "@sha256:[0-9a-f]{64}"


def listed(*names):
    """Version by distribution."""
    texts = [(ROOT / "requirements" / f"{name}.txt").read_text() for name in names]
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[\w,]+\])?==([^\s;]+)", "\n".join(texts), re.M))


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_every_listed_distribution_has_a_version_and_hashes(path):
    entries = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", path.read_text(), flags=re.M).strip())
    entry = re.compile(r"[a-z0-9._-]+(\[[\w,]+\])?==\S+( ; .*?)?( \\\n    --hash=sha256:[0-9a-f]{64})+")
    assert [text for text in entries if not entry.fullmatch(text)] == []


def test_every_installed_distribution_is_listed_with_its_version():
    """The environment of `make setup` and of the tests. It brings its own pip."""
    known = listed("all", "torch", "dev")
    here = {canonicalize_name(d.name): d.version.partition("+")[0] for d in distributions()}
    assert {name: v for name, v in here.items() if name not in OURS | {"pip"} and known.get(name) != v} == {}


def test_lists_agree_with_the_packages_and_with_each_other():
    """Otherwise: make lock"""
    for project in PROJECTS:
        for requirement in map(Requirement, project["dependencies"]):
            if requirement.name not in OURS:
                version = listed("all", "torch").get(canonicalize_name(requirement.name), "")
                assert version and requirement.specifier.contains(version), (project["name"], str(requirement), version)
    for name in ("federation", "datagen", "tunnel", "console", "gateway"):
        assert listed(name).items() <= listed("all").items(), name


# -- the set-up, with wheels of its own ---------------------------------------------------------------------------------
def wheel(folder, name, *requires, version="1.0", text=""):
    """A wheel with one module; returns its line for a list."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        f"{name}.py": text,
        f"{name}-{version}.dist-info/METADATA": metadata + "".join(f"Requires-Dist: {r}\n" for r in requires),
        f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = ""
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            archive.writestr(file, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
            rows += f"{file},sha256={digest},{len(content.encode())}\n"
        archive.writestr(f"{name}-{version}.dist-info/RECORD", rows)
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def checkout(tmp_path):
    """A checkout with the scripts of `make setup`, and a Python whose environments all install into one folder."""
    for name in ("setup", "install_torch", "fail"):
        target = tmp_path / "scripts" / f"{name}.sh"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((ROOT / "scripts" / f"{name}.sh").read_bytes())
    (tmp_path / "requirements").mkdir()
    for path in LISTS:
        (tmp_path / "requirements" / path.name).write_text("")
    stand_in = (
        f'#!/bin/sh\n[ "$2" = venv ] || exec {sys.executable} "$@"\nmkdir -p "$3/bin" && cp "$0" "$3/bin/python"\n'
    )
    (tmp_path / "python").write_text(stand_in)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def run(checkout, *command, **environment):
    pip = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(checkout / "wheels"),
        "PIP_TARGET": str(checkout / "installed"),
    }
    env = (
        {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "TORCH_", "PYTHONPATH"))} | pip | environment
    )
    return subprocess.run(["bash", *command], cwd=checkout, env=env, capture_output=True, text=True, check=False)


def set_up(checkout):
    return run(checkout, "scripts/setup.sh", str(checkout / "python"), str(checkout / "venv"))


def installed(checkout):
    return {path.stem for path in (checkout / "installed").glob("*.py")}


def test_a_package_with_another_hash_is_not_installed(checkout):
    (checkout / "requirements" / "all.txt").write_text(wheel(checkout / "wheels", "thing"))
    wheel(checkout / "wheels", "thing", text="stolen = True")
    refused = set_up(checkout)
    assert refused.returncode == 2 and "DO NOT MATCH THE HASHES" in refused.stderr and "(S6:" in refused.stderr
    assert installed(checkout) == set()


def test_a_package_without_a_hash_is_not_installed(checkout):
    line = wheel(checkout / "wheels", "thing")
    (checkout / "requirements" / "all.txt").write_text(line.partition(" ")[0] + "\n")
    refused = set_up(checkout)
    assert refused.returncode == 2 and "Hashes are required" in refused.stderr
    assert installed(checkout) == set()


def test_a_package_that_is_not_listed_is_not_installed_though_another_requires_it(checkout):
    wheel(checkout / "wheels", "stranger")
    (checkout / "requirements" / "all.txt").write_text(wheel(checkout / "wheels", "thing", "stranger"))
    set_up(checkout)
    assert installed(checkout) == {"thing"}


def test_pytorch_is_only_what_its_list_says_unless_another_index_is_named(checkout):
    wheel(checkout / "wheels", "torch", version="2.13.0")
    torch = checkout / "requirements" / "torch.txt"
    torch.write_text(re.sub(r"\ntorchvision.*", "\n", (ROOT / "requirements/torch.txt").read_text(), flags=re.S))
    install = ("scripts/install_torch.sh", str(checkout / "python"))
    refused = run(checkout, *install)
    assert refused.returncode and "DO NOT MATCH THE HASHES" in refused.stderr and installed(checkout) == set()
    named = run(checkout, *install, TORCH_INDEX_URL=(checkout / "wheels").as_uri())
    assert (named.returncode, installed(checkout)) == (0, {"torch"}), named.stderr


# -- images ------------------------------------------------------------------------------------------------------------
def test_images_of_others_are_named_by_digest():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    images = [s["image"] for s in services.values() if not s["image"].startswith("embryofl-")]
    dockerfile = (ROOT / "services/Dockerfile").read_text()
    arguments = dict(re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", dockerfile, re.M))
    stages = {"scratch", *re.findall(r"^FROM \S+ AS (\w+)$", dockerfile, re.M)}
    from_ = [name for name in re.findall(r"^FROM (\S+)", dockerfile, re.M) if name not in stages]
    named = [*images, *(arguments[name.removeprefix("$")] for name in from_)]
    assert [name for name in named if not re.search(DIGEST + "$", name)] == [] and len(named) == 4


def test_pinning_writes_the_newest_digest_of_each_tag(checkout):
    for name in ("scripts/pin_images.sh", "services/Dockerfile", "compose.yaml"):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_bytes((ROOT / name).read_bytes())
    docker = checkout / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(f'#!/bin/sh\n[ "$1" = pull ] || echo "${{5%:*}}@sha256:{"0" * 64}"\n')
    docker.chmod(0o755)
    done = run(checkout, "scripts/pin_images.sh", PATH=f"{docker.parent}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    for name in ("services/Dockerfile", "compose.yaml"):
        before, after = (re.sub(DIGEST, "", (root / name).read_text()) for root in (ROOT, checkout))
        assert before == after
        assert {*re.findall(DIGEST, (checkout / name).read_text())} == {f"@sha256:{'0' * 64}"}


# -- known vulnerabilities -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("prints", "code", "text"),
    [
        ("", 0, "SKIPPED: PyPI's list of known vulnerabilities cannot be read from here."),
        ('{"dependencies": [{"name": "a", "skip_reason": "not found"}]}', 0, "SKIPPED: "),
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}', 0, "Known vulnerabilities: 0"),
        (
            '{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}]}',
            1,
            "a 1: CVE-1, fixed in 2",
        ),
    ],
    ids=["no network", "unknown index", "none", "one"],
)
def test_audit_fails_for_known_vulnerabilities_and_tolerates_that_there_is_no_network(tmp_path, prints, code, text):
    (tmp_path / "python").symlink_to(sys.executable)
    (tmp_path / "pip-audit").write_text(f"#!/bin/sh\nprintf '%s' '{prints}'\necho 'no connection' >&2\nexit 1\n")
    (tmp_path / "pip-audit").chmod(0o755)
    command = [tmp_path / "python", ROOT / "scripts" / "audit.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, text in done.stdout) == (code, True), done.stdout + done.stderr
