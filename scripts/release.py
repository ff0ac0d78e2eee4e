"""Make a release (docs/contributing.md, Releases).

python scripts/release.py 0.2.0   all packages, and what they require of each other, get this version
python scripts/release.py         `make release`: the release of the current commit, in dist/

Everything in dist/ is made from the commit, so ignored files of the checkout cannot get into it. Needs only git, Python
and, for images, Docker; what builds packages and lists of contents is installed from requirements/tools.txt. RELEASE_KEY
names the private key that signs.
"""

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
SIGNED_AS = "embryofl-release"  # so that a signature of something else is not taken for one of a release
PACKAGES = sorted(ROOT.glob("services/*/pyproject.toml"))


def fail(message: str) -> NoReturn:
    """End with 2, as the programs do (docs/exit-codes.md)."""
    print(message, file=sys.stderr)
    sys.exit(2)


def run(*command: str | Path, cwd: Path = ROOT, text: str | None = None) -> None:
    """Run a command, with `text` on its standard input; end if it fails. It has said why."""
    if subprocess.run(command, cwd=cwd, check=False, text=True, input=text).returncode:
        fail(f"This command failed, so dist/ is not complete: {' '.join(map(str, command))}")


def output(*command: str) -> str:
    """What a command prints; ends if it fails."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        fail(f"This command failed, so dist/ is not complete: {' '.join(command)}")
    return done.stdout


def git(*arguments: str) -> str:
    """Output of a git command in this repository."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.rstrip()


def versions() -> dict[str, str]:
    """Version by package."""
    projects = [tomllib.loads(path.read_text())["project"] for path in PACKAGES]
    return {project["name"]: project["version"] for project in projects}


def set_version(version: str) -> None:
    """Write the version into every pyproject.toml. Setuptools cannot read it from a file outside a package's folder."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        fail(f"{version} is not a version. Expected three numbers, such as 0.2.0.")
    for path in PACKAGES:
        text = re.sub(r'^version = "[^"]*"', f'version = "{version}"', path.read_text(), flags=re.M)
        path.write_text(re.sub(r'^( +"embryofl[\w\[\]-]*==)[^"]*"', rf'\g<1>{version}"', text, flags=re.M))
    print(f"All packages are {version} now. Next: a section [{version}] in CHANGELOG.md, and a commit.")


def check() -> str:
    """The version to be released; ends if this commit cannot be."""
    found = versions()
    if len(set(found.values())) > 1:
        fail(f"Versions differ: {found}. Expected one for all packages. Run: python scripts/release.py VERSION")
    version = next(iter(found.values()))
    changes = git("status", "--porcelain")
    if changes:
        fail(f"There are uncommitted changes:\n{changes}\nExpected a clean checkout. Commit or remove them first.")
    if not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M):
        fail(
            f"CHANGELOG.md has no section of version {version}. Expected the line: ## [{version}] - YYYY-MM-DD\n"
            "Move what is under Unreleased there, and commit it."
        )
    tags = [tag for tag in git("tag", "--points-at", "HEAD").split() if tag.startswith("v")]
    if tags and f"v{version}" not in tags:
        fail(f"This commit has the tag {' '.join(tags)}, but its packages are {version}. Tag it v{version}.")
    return version


def write_source(version: str) -> Path:
    """The source archive: the files of the commit, in a folder of their own."""
    archive = DIST / f"embryofl-{version}-source.tar.gz"
    run("git", "archive", f"--prefix=embryofl-{version}/", f"--output={archive}", "HEAD")
    return archive


def pip(environment: Path, *arguments: str | Path) -> None:
    """Run the environment's pip."""
    run(environment / "bin" / "python", "-m", "pip", "-q", "--disable-pip-version-check", *arguments)


def install_tools(tree: Path, tools: Path) -> None:
    """An environment of its own with setuptools and cyclonedx-py."""
    run(sys.executable, "-m", "venv", tools)
    pip(tools, "install", "--no-deps", "--require-hashes", "-r", tree / "requirements" / "tools.txt")


def write_wheels(tree: Path, tools: Path) -> None:
    """A wheel of each package."""
    packages = [path.parent for path in sorted(tree.glob("services/*/pyproject.toml"))]
    pip(tools, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", DIST, *packages)


def why_no_docker() -> str:
    """Why images cannot be built here; "" if they can."""
    if shutil.which("docker") is None:
        return "Docker is not installed"
    info = subprocess.run(["docker", "info"], capture_output=True, check=False)
    return "Docker's engine does not reply" if info.returncode else ""


def write_images(tree: Path, version: str) -> list[str]:
    """An archive of each image, for `docker load`, tagged with the version and as latest. Returns the images' names."""
    reason = why_no_docker()
    if reason:
        print(f"SKIPPED: archives of images, because {reason}. For a complete release, run make release with Docker.")
        return []
    names = sorted(set(re.findall(r"^ +image: (embryofl-\w+)$", (tree / "compose.yaml").read_text(), re.M)))
    extra = os.environ.get("EMBRYOFL_COMPOSE_EXTRA")
    files = ["-f", "compose.yaml", *(["-f", str(Path(extra).resolve())] if extra else [])]
    run("docker", "compose", *files, "build", *(name.removeprefix("embryofl-") for name in names), cwd=tree)
    for name in names:
        run("docker", "tag", name, f"{name}:{version}")
        save = ["docker", "save", f"{name}:{version}", f"{name}:latest"]
        archive = DIST / f"{name}-{version}-image.tar.gz"
        with gzip.open(archive, "wb", 6) as out, subprocess.Popen(save, stdout=subprocess.PIPE) as process:
            shutil.copyfileobj(process.stdout, out)
        if process.returncode:
            fail(f"{name} could not be saved, so dist/ is not complete; the message above says why.")
    return names


def write_sboms(tree: Path, tools: Path, images: list[str], version: str) -> None:
    """What is inside, as CycloneDX 1.6: of each image its Python distributions and Debian packages, and of all packages
    together the distributions that they were tested with."""
    sbom = (tools / "bin" / "cyclonedx-py", "requirements", "--output-reproducible", "--of", "JSON")
    listed = DIST / f"embryofl-{version}-sbom.json"
    lock = (tree / "requirements" / "all.txt").read_text() + (tree / "requirements" / "torch.txt").read_text()
    run(*sbom, "-o", listed, "-", text=lock)
    for name in images:
        inside = ("docker", "run", "--rm", "--network", "none", "--entrypoint")
        debian = output(
            *inside, "dpkg-query", f"{name}:{version}", "-W", "-f", "${Package} ${Version} ${Architecture}\n"
        )
        if name == "embryofl-gateway":  # holds no Python, only the program of a distribution
            python = (tree / "requirements" / "gateway.txt").read_text()
        else:
            python = output(*inside, "pip", f"{name}:{version}", "list", "--format=freeze")
        path = DIST / f"{name}-{version}-sbom.json"
        run(*sbom, "-o", path, "-", text=python)
        document = json.loads(path.read_text())
        document["metadata"]["component"] = {"type": "container", "name": name, "version": version}
        for package, number, architecture in (line.split() for line in debian.splitlines()):
            purl = f"pkg:deb/debian/{package}@{quote(number)}?arch={architecture}&distro=bookworm"
            document["components"].append(
                {"type": "library", "bom-ref": purl, "name": package, "version": number, "purl": purl}
            )
        path.write_text(json.dumps(document, indent=1) + "\n")


def write_checksums() -> None:
    """SHA256SUMS, as `sha256sum --check` reads it."""
    lines = []
    for path in sorted(DIST.iterdir()):
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    (DIST / "SHA256SUMS").write_text("".join(lines))


def sign_checksums() -> None:
    """SHA256SUMS.sig: the checksums signed with the key file RELEASE_KEY, by `ssh-keygen -Y sign`; release-key.pub is that
    key's public half. `embryofl-clinic verify` and docs/joining.md check it."""
    key = os.environ.get("RELEASE_KEY")
    if not key:
        print(
            "SKIPPED: the signature, because RELEASE_KEY names no key. Do not publish this release: nobody can check it."
        )
        return
    public = output("ssh-keygen", "-y", "-f", key)
    if not public.startswith("ssh-ed25519 "):
        fail(f"{key} is a key of another kind ({public.split()[0]}). Expected Ed25519: ssh-keygen -t ed25519 -f {key}")
    run("ssh-keygen", "-q", "-Y", "sign", "-n", SIGNED_AS, "-f", key, DIST / "SHA256SUMS")
    (DIST / "release-key.pub").write_text(" ".join(public.split()[:2]) + "\n")  # without a comment


def release() -> None:
    """Write all of dist/; checksums and signature last, so that without them it is not complete."""
    version = check()
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    os.environ["SOURCE_DATE_EPOCH"] = git("log", "-1", "--format=%ct")  # the same commit gives the same wheels
    with tempfile.TemporaryDirectory() as folder:
        shutil.unpack_archive(write_source(version), folder)
        tree = Path(folder) / f"embryofl-{version}"
        tools = Path(folder) / "tools"
        install_tools(tree, tools)
        write_wheels(tree, tools)
        names = write_images(tree, version)
        write_sboms(tree, tools, names, version)
    write_checksums()
    sign_checksums()
    print(f"Release {version} of commit {git('rev-parse', '--short', 'HEAD')} is in dist/:")
    for path in sorted(DIST.iterdir()):
        print(f"  {path.stat().st_size / 1e3:9.0f} kB  {path.name}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        set_version(sys.argv[1])
    else:
        release()
