"""Messages of `make up` when it cannot start. Needs no Docker."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from embryofl.settings import RunSettings
from embryofl_server.federation.strategies import strategy, strategy_names

ROOT = Path(__file__).parents[2]


@pytest.fixture
def programs(tmp_path):
    """A folder with the few programs that `make up` uses, without Docker and Python; the only one on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in (
        "awk",
        "bash",
        "cat",
        "cut",
        "date",
        "dirname",
        "grep",
        "id",
        "make",
        "mkdir",
        "mv",
        "paste",
        "rm",
        "sed",
        "sleep",
        "sort",
        "tail",
        "tr",
    ):
        (folder / name).symlink_to(shutil.which(name))
    return folder


def up(programs, **options):
    places = {"EMBRYOFL_COMPOSE_DIR": str(programs.parent / "compose"), "VENV": str(programs.parent / "venv")}
    return subprocess.run(
        ["make", "up"],
        cwd=ROOT,
        env={"PATH": str(programs), **places, **options},
        capture_output=True,
        text=True,
        check=False,
    )


def docker(programs, script):
    """Install `script` as the Docker command."""
    path = programs / "docker"
    path.write_text(f"#!{shutil.which('bash')}\n{script}\n")
    path.chmod(0o755)


REPLIES = """case "$*" in
"version "*) echo 28.0.1 ;; "compose version --short") echo 2.30.0 ;; "info --format {{json .}}") echo '{"ServerVersion": "28.0.1"}' ;;
esac"""


@pytest.mark.parametrize("python", [True, False])
@pytest.mark.parametrize(
    ("script", "found", "said"),
    [
        (None, "not installed", "docker: command not found"),
        (
            """[ "$1" != compose ] || { echo "unknown command: docker compose" >&2; exit 1; }""",
            "plugin: none",
            "unknown command",
        ),
        ('[ "$1" = compose ] || { echo "Cannot connect to the daemon" >&2; exit 1; }', "not running", "Cannot connect"),
        ('[ "$1" = compose ] || { echo "permission denied" >&2; exit 1; }', "no permission", "permission denied"),
    ],
)
def test_without_a_usable_docker_up_suggests_make_demo(programs, python, script, found, said):
    """The words are those of make doctor, or Docker's own where there is no Python."""
    if script is not None:
        docker(programs, script)
    if python:
        (programs / "python3").symlink_to(sys.executable)
    done = up(programs)
    assert done.returncode == 2 and (found if python else said) in done.stderr and "make demo" in done.stderr


OPTIONS = [
    ("CLINICS", "0", "Expected a number from 1 to 50"),
    ("CLINICS", "51", "Expected a number from 1 to 50"),
    ("CLINICS", "three", "Expected a number from 1 to 50"),
    ("IMAGES", "few", "Expected the number"),
    ("PORT", "0", "Expected a number from 1 to 65535"),
    ("PORT", "65536", "Expected a number from 1 to 65535"),
    ("PORT", "http", "Expected a number from 1 to 65535"),
    ("DATA", "/no/such/folder", "Expected a folder of images"),
    ("SET", "rounds", "Expected name=value"),
    ("SET", "rounds=2,modle=lite0", "There is no setting modle; did you mean model?"),
    ("SET", "beta1=0.9", "There is no setting beta1; did you mean beta_1?"),
    ("EMBRYOFL_APROVAL", "manual", "There is no variable EMBRYOFL_APROVAL; did you mean EMBRYOFL_APPROVAL?"),
    ("EMBRYOFL_COLOUR_SCHEME", "dark", "There is no variable EMBRYOFL_COLOUR_SCHEME. "),
]
UNKNOWN = [  # on make's command line
    ("CLINIC", "3", "There is no option CLINIC; did you mean CLINICS?"),
    ("ROUNDS", "3", "There is no option ROUNDS; did you mean SET=rounds=...?"),
]


@pytest.mark.parametrize(("option", "value", "message"), OPTIONS)
def test_invalid_option_ends_make_up_before_docker_is_called(programs, option, value, message):
    docker(programs, f'echo "$*" >>{programs.parent}/calls\n{REPLIES}')
    done = up(programs, **{option: value})
    assert done.returncode == 2 and message in done.stderr
    assert not (programs.parent / "calls").exists()


def test_what_make_doctor_finds_ends_make_up_before_anything_is_built(programs):
    docker(programs, f'echo "$*" >>{programs.parent}/calls\n{REPLIES}')
    (programs / "python3").symlink_to(sys.executable)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = up(programs, PORT=str(port))
    assert done.returncode == 2 and f"Port {port} is in use" in done.stderr and f"PORT={port + 1}" in done.stderr
    assert "build" not in (programs.parent / "calls").read_text()


@pytest.mark.parametrize("target", ["demo", "compare"])
@pytest.mark.parametrize(("option", "value", "message"), [*OPTIONS, *UNKNOWN])
def test_invalid_option_ends_make_demo_before_anything_is_installed(tmp_path, target, option, value, message):
    done = subprocess.run(
        ["make", target, f"VENV={tmp_path}/venv", f"{option}={value}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], option: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and message in done.stderr
    assert not list(tmp_path.iterdir())


def test_every_setting_of_the_page_is_accepted(tmp_path):
    settings = [*RunSettings.model_fields, *(n for s in strategy_names() for n in strategy(s).SETTINGS.model_fields)]
    variables = dict.fromkeys((ROOT / "services/common/embryofl/environment.txt").read_text().split(), "1")
    options = {"SET": ",".join(f"{n}=1" for n in settings), "CLINICS": "50", "PORT": "8443", "DATA": str(tmp_path)}
    environment = {"PATH": os.environ["PATH"], **variables, **options}
    done = subprocess.run(
        ["bash", "scripts/options.sh"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
