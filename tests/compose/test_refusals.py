"""Messages of `make up` when it cannot start. Needs no Docker."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def programs(tmp_path):
    """A folder with the few programs that scripts/compose.sh uses, and no Docker; the only one on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in (
        "bash",
        "cat",
        "cut",
        "date",
        "dirname",
        "grep",
        "id",
        "mkdir",
        "mv",
        "rm",
        "sed",
        "sleep",
        "sort",
        "tail",
    ):
        (folder / name).symlink_to(shutil.which(name))
    return folder


def up(programs, **options):
    environment = {"PATH": str(programs), "EMBRYOFL_COMPOSE_DIR": str(programs.parent / "compose"), **options}
    return subprocess.run(
        ["bash", "scripts/compose.sh", "up"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def docker(programs, script):
    """Install `script` as the Docker command."""
    path = programs / "docker"
    path.write_text(f"#!{shutil.which('bash')}\n{script}\n")
    path.chmod(0o755)


ENGINE = 'case "$*" in "version "*) echo 28.0.1 ;; esac'


@pytest.mark.parametrize(
    ("script", "word"),
    [
        (None, "not installed"),
        ('[ "$1" != compose ]', "no Compose plugin"),
        ('[ "$1" = compose ] || { echo "Cannot connect to the Docker daemon" >&2; exit 1; }', "not running"),
        ('[ "$1" = compose ] || { echo "permission denied while trying to connect" >&2; exit 1; }', "no permission"),
        ('[ "$1" = compose ] || echo 20.10.24', "20.10.24 was found"),
    ],
)
def test_without_a_usable_docker_up_suggests_make_demo(programs, script, word):
    if script is not None:
        docker(programs, script)
    done = up(programs)
    assert done.returncode == 2 and word in done.stderr and "make demo" in done.stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("CLINICS", "0"),
        ("CLINICS", "51"),
        ("CLINICS", "three"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("DATA", "/no/such/folder"),
    ],
)
def test_invalid_option_is_reported_before_anything_happens(programs, option, value):
    docker(programs, f'echo "$*" >>{programs.parent}/calls\n{ENGINE}')
    done = up(programs, **{option: value})
    assert done.returncode == 2 and f"{option}={value}" in done.stderr and "Expected" in done.stderr
    calls = (programs.parent / "calls").read_text()
    assert os.linesep.join(c for c in calls.splitlines() if " build" in c or " up " in c or " run " in c) == ""
