"""Make a release (docs/contributing.md, Releases).

python scripts/release.py 0.2.0   all packages, and what they require of each other, get this version
python scripts/release.py         `make release`: the release of the current commit, in dist/

Everything in dist/ is made from the commit, so ignored files of the checkout cannot get into it. Needs only git, Python
and, for images, Docker.
"""

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
PACKAGES = sorted(ROOT.glob("services/*/pyproject.toml"))


def fail(message: str) -> NoReturn:
    """End with 2, as the programs do (docs/exit-codes.md)."""
    print(message, file=sys.stderr)
    sys.exit(2)


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Run a command; end if it fails. It has said why."""
    if subprocess.run(command, cwd=cwd, check=False).returncode:
        fail(f"This command failed, so dist/ is not complete: {' '.join(map(str, command))}")


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


def write_wheels(tree: Path, tools: Path) -> None:
    """A wheel of each package, built with the pinned setuptools in an environment of its own."""
    run(sys.executable, "-m", "venv", tools)
    pip = (tools / "bin" / "python", "-m", "pip", "-q", "--disable-pip-version-check")
    run(*pip, "install", "-c", tree / "constraints.txt", "setuptools")
    packages = [path.parent for path in sorted(tree.glob("services/*/pyproject.toml"))]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", DIST, *packages)


def why_no_docker() -> str:
    """Why images cannot be built here; "" if they can."""
    if shutil.which("docker") is None:
        return "Docker is not installed"
    info = subprocess.run(["docker", "info"], capture_output=True, check=False)
    return "Docker's engine does not reply" if info.returncode else ""


def write_images(tree: Path, version: str) -> None:
    """An archive of each image, for `docker load`, tagged with the version and as latest."""
    reason = why_no_docker()
    if reason:
        print(f"SKIPPED: archives of images, because {reason}. For a complete release, run make release with Docker.")
        return
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


def write_checksums() -> None:
    """SHA256SUMS, as `sha256sum --check` reads it."""
    lines = []
    for path in sorted(DIST.iterdir()):
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    (DIST / "SHA256SUMS").write_text("".join(lines))


def release() -> None:
    """Write all of dist/; the checksums last, so that without them it is not complete."""
    version = check()
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    os.environ["SOURCE_DATE_EPOCH"] = git("log", "-1", "--format=%ct")  # the same commit gives the same wheels
    with tempfile.TemporaryDirectory() as folder:
        shutil.unpack_archive(write_source(version), folder)
        tree = Path(folder) / f"embryofl-{version}"
        write_wheels(tree, Path(folder) / "tools")
        write_images(tree, version)
    # The place for an SBOM of wheels and images: written here, it gets a checksum. There is none yet.
    write_checksums()
    print(f"Release {version} of commit {git('rev-parse', '--short', 'HEAD')} is in dist/:")
    for path in sorted(DIST.iterdir()):
        print(f"  {path.stat().st_size / 1e3:9.0f} kB  {path.name}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        set_version(sys.argv[1])
    else:
        release()
