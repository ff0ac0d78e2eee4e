"""`make doctor` (scripts/doctor.py): each fault has its line, what to do about it, and its exit code.

docker, nvidia-smi and the other programs that it asks are stand-ins: scripts on an otherwise empty PATH. Not tried here: a
real GPU, and Docker Desktop.
"""

import collections
import datetime
import fcntl
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from kits.house import ROOT
from kits.ports import free_port

SCRIPT = ROOT / "scripts" / "doctor.py"
IMAGES = ["server", "clinic", "gateway", "console", "datagen"]
OURS = re.compile(
    r"EMBRYOFL_|(GPU|CLINICS|PORT|TORCH_INDEX_URL|COMPOSE_PROJECT_NAME|https?_proxy|HTTPS?_PROXY|ALL_PROXY)$"
)


def today(days=0):
    return time.strftime("%Y-%m-%d 12:00:00 +0000 UTC", time.gmtime(time.time() - days * 86_400))


class Machine:
    """A machine on which all is well, until a test changes it."""

    def __init__(self, folder, monkeypatch, capsys):
        self.folder, self.monkeypatch, self.capsys = folder, monkeypatch, capsys
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.environment = {
            "PATH": str(self.programs),
            "EMBRYOFL_COMPOSE_DIR": str(folder / "compose"),
            "EMBRYOFL_DEMO_DIR": str(folder / "demo"),
            "VENV": str(folder / "venv"),
            **{name: str(free_port()) for name in ("PORT", "EMBRYOFL_CONSOLE_PORT")},
            **{name: str(free_port()) for name in ("EMBRYOFL_PROMETHEUS_PORT", "EMBRYOFL_GRAFANA_PORT")},
        }
        self.info = {
            "ServerVersion": "29.1.0",
            "Name": socket.gethostname(),
            "DockerRootDir": str(folder),
            "MemTotal": 16 << 30,
            "Runtimes": {"runc": {}},
        }
        self.images = {**{f"embryofl-{name}:latest": today() for name in IMAGES}, "prom/prometheus:v3.5.3": today(90)}
        self.docker = {"compose version": "2.40.3"}  # what docker prints, by how its arguments begin
        self.docker_script = ""  # instead of it; None: there is no docker
        self.containers, self.free_gb, self.timeout = [], 100, 30
        self.program("python", "exit 0")  # resolves every name
        monkeypatch.setattr(sys, "executable", str(self.programs / "python"))
        for name in filter(OURS.match, list(os.environ)):
            monkeypatch.delenv(name)

    def program(self, name, script):
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(self, *arguments):
        """Exit code, and output as one text (full form) or the error output (short form)."""
        answers = {
            "info": json.dumps(self.info),
            "ps": "\n".join("\t".join(row) for row in self.containers),
            "image": "\n".join(f"{name}\t{made}" for name, made in self.images.items()),
            **self.docker,
        }
        cases = "".join(f"'{words}'*) /bin/cat <<'END'\n{text}\nEND\n;;\n" for words, text in answers.items())
        self.program("docker", self.docker_script or f'case "$*" in {cases} *) exit 1;; esac')
        if self.docker_script is None:
            (self.programs / "docker").unlink()
        for name, value in self.environment.items():
            self.monkeypatch.setenv(name, value)
        usage = collections.namedtuple("Usage", "free")(self.free_gb * 1e9)
        self.monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        spec = importlib.util.spec_from_file_location("doctor", SCRIPT)
        doctor = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(doctor)
        doctor.RUN["timeout"] = self.timeout
        code = doctor.main(list(arguments))
        out, err = self.capsys.readouterr()
        assert "Traceback" not in out + err
        return code, err if arguments else out

    def finding(self, begin, *arguments):
        """Exit code, and level and remedy of the line that begins with a text."""
        code, text = self.run(*arguments)
        line = re.search(rf"^(ok|look|stop) +({re.escape(begin)}.*)(?:\n {{6}}(.+))?", text, re.M)
        assert line, text
        return code, line[1], f"{line[2]} {line[3] or ''}"


@pytest.fixture
def machine(tmp_path, monkeypatch, capsys):
    return Machine(tmp_path, monkeypatch, capsys)


def test_all_is_well(machine):
    code, text = machine.run()
    assert (code, re.findall(r"^(?:look|stop)", text, re.M)) == (0, []), text
    assert re.fullmatch(r"\d\d ok, 0 look, 0 stop", text.splitlines()[-1])
    assert "make up builds or downloads grafana/grafana" in text


@pytest.mark.parametrize("way", ["containers", "demo"])
def test_short_form_prints_nothing_if_all_is_well(machine, way):
    assert machine.run("--short", way) == (0, "")


def test_docker_is_missing(machine):
    machine.docker_script = None
    code, level, text = machine.finding("Docker is not installed")
    assert (code, level) == (0, "look") and "https://docs.docker.com/engine/install/" in text and "make demo" in text
    assert machine.finding("Docker is not installed", "--short", "containers")[:2] == (2, "stop")
    assert machine.run("--short", "demo") == (0, "")


@pytest.mark.parametrize(
    ("script", "begin", "remedy"),
    [
        (
            """echo '{"ServerErrors":["permission denied while trying to connect"]}'; exit 1""",
            "User lena has no permission to use Docker",
            "group docker",
        ),
        (
            "echo 'Cannot connect to the Docker daemon' >&2; exit 1",
            "Docker is installed, but its engine is not running",
            "systemctl",
        ),
        ("exec /bin/sleep 5", "Docker is installed, but its engine does not reply", "Start it"),
        ("""echo '{"ServerVersion":"24.0.7"}'""", "Docker Engine 24.0.7 (25 or later is needed)", "Upgrade it"),
    ],
)
def test_engine_that_cannot_be_used(machine, script, begin, remedy):
    machine.program("id", "echo lena")
    machine.docker_script, machine.timeout = script, 0.3 if "sleep" in script else machine.timeout
    code, level, text = machine.finding(begin, "--short", "containers")
    assert (code, level) == (2, "stop") and remedy in text and "make demo" in text


@pytest.mark.parametrize(
    ("version", "begin"), [("2.20.1", "Docker Compose 2.20.1"), (None, "Docker Compose plugin: none")]
)
def test_compose_that_is_too_old_or_missing(machine, version, begin):
    machine.docker = {"compose version": version} if version else {}
    code, level, text = machine.finding(f"{begin} (2.24 or later is needed)")
    assert (code, level) == (2, "stop") and "https://docs.docker.com/compose/install/" in text


def test_python_that_is_too_old_stops_make_demo_only(machine):
    machine.monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    machine.monkeypatch.setattr(sys, "version", "3.9.18 (main)")
    code, level, text = machine.finding("Python 3.9.18 (make demo needs 3.11 or later)")
    assert (code, level) == (0, "look") and "PYTHON=python3.12" in text
    assert machine.finding("Python 3.9.18", "--short", "demo")[:2] == (2, "stop")


def taken(machine, variable):
    """A port that a socket of this test listens on."""
    server = socket.create_server(("127.0.0.1", int(machine.environment[variable])))
    return server, int(machine.environment[variable])


def test_port_of_the_gateway_in_use_by_another_program_is_a_stop(machine):
    machine.program("ss", """echo 'LISTEN 0 5 0.0.0.0:1 0.0.0.0:* users:(("node",pid=77,fd=3))'""")
    server, number = taken(machine, "PORT")
    with server:
        for way, target in (("containers", "up"), ("demo", "demo")):
            code, level, text = machine.finding(f"Port {number} is in use by node (process 77)", "--short", way)
            assert (code, level) == (2, "stop") and f"make {target} PORT={number + 1}" in text


def test_port_of_grafana_in_use_hinders_only_grafana(machine):
    server, number = taken(machine, "EMBRYOFL_GRAFANA_PORT")
    with server:
        code, level, text = machine.finding(f"Port {number} is in use by another program (to see which: sudo ss")
        assert (code, level) == (0, "look") and f"EMBRYOFL_GRAFANA_PORT={number + 1} make up" in text
        assert machine.run("--short", "demo") == (0, "")


def test_port_in_use_by_this_federations_containers_hinders_only_make_demo(machine):
    server, number = taken(machine, "PORT")
    row = [
        "embryofl-gateway-1",
        "embryofl",
        "gateway",
        "running",
        "Up 2 hours (healthy)",
        f"0.0.0.0:{number}->8443/tcp",
    ]
    machine.containers = [row]
    with server:
        assert machine.run("--short", "containers") == (0, "")
        code, level, text = machine.finding(
            f"Port {number} is in use by container embryofl-gateway-1", "--short", "demo"
        )
        assert (code, level) == (2, "stop") and "make down" in text


def test_port_in_use_by_make_demo_hinders_only_make_up(machine):
    server, number = taken(machine, "PORT")
    demo = machine.folder / "demo" / "synthetic-3"
    demo.mkdir(parents=True)
    (demo / "ports.json").write_text(json.dumps({"gateway": number}))
    with server, (demo / "supervisor.pid").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("4711")
        file.flush()
        assert machine.run("--short", "demo") == (0, "")
        assert "Running: make demo synthetic-3 (process 4711)" in machine.run()[1]
        code, level, text = machine.finding(
            f"Port {number} is in use by make demo (process 4711)", "--short", "containers"
        )
        assert (code, level) == (2, "stop") and "make down" in text
    assert "Running: nothing" in machine.run()[1]


def test_port_that_is_no_number(machine):
    machine.environment["EMBRYOFL_CONSOLE_PORT"] = "console"
    assert machine.finding("EMBRYOFL_CONSOLE_PORT=console cannot be used")[:2] == (2, "stop")


@pytest.mark.parametrize(
    ("free", "way", "level", "needed"),
    [(6, "containers", "look", 8), (3, "containers", "stop", 8), (1, "demo", "stop", 4)],
)
def test_disk_is_too_small_for_the_first_start(machine, free, way, level, needed):
    machine.images, machine.free_gb = {}, free
    code, found, text = machine.finding(f"Disk: {free}.0 GB free", "--short", way)
    assert (code, found) == (2 if level == "stop" else 0, level) and f"about {needed} GB" in text


def test_disk_needs_little_once_images_and_packages_are_there(machine):
    machine.free_gb = 1
    (machine.folder / "venv").mkdir()
    (machine.folder / "venv" / ".ready").touch()
    assert machine.run("--short", "containers") == machine.run("--short", "demo") == (0, "")


def test_disk_of_another_machine_is_not_measured(machine):
    machine.info["Name"], machine.free_gb, machine.images = "docker-desktop", 1, {}
    assert machine.run("--short", "containers") == (0, "")


def test_memory_is_compared_with_the_limits_of_server_and_clinics(machine):
    machine.info["MemTotal"] = 8 << 30
    code, level, text = machine.finding("Memory: Docker has 8.0 GiB; server and 3 clinics may use 9.0 GiB")
    assert (code, level) == (0, "look") and "CLINICS=2" in text
    machine.environment["CLINICS"] = "2"
    assert machine.finding("Memory: Docker has 8.0 GiB; server and 2 clinics may use 7.0 GiB")[1] == "ok"
    machine.environment.update(EMBRYOFL_CLINIC_MEMORY="512m", CLINICS="10")
    assert machine.finding("Memory: Docker has 8.0 GiB; server and 10 clinics may use 8.0 GiB")[1] == "ok"


def test_clock_before_the_checkout(machine):
    machine.monkeypatch.setattr(time, "time", lambda: 1_000_000_000)
    assert machine.finding("Clock: 2001-09-09 (this checkout is of 2")[1] == "look"


def test_name_that_is_not_resolved(machine):
    machine.program("python", 'case "$3" in pypi.org) exit 1;; esac')
    code, level, text = machine.finding("Network: the name pypi.org is not resolved here")
    assert (code, level) == (0, "look") and "HTTPS_PROXY" in text


def test_proxy_that_dockers_engine_does_not_use(machine):
    machine.environment["HTTPS_PROXY"] = "http://lena:secret@proxy:3128"
    code, level, text = machine.finding("Network: HTTPS_PROXY, but Docker's engine uses no proxy")
    assert (code, level) == (0, "look") and "engine/daemon/proxy" in text and "secret" not in text
    machine.info["HttpsProxy"] = "http://proxy:3128"
    assert machine.finding("Network: HTTPS_PROXY")[1] == "ok"


def test_images_older_than_a_month(machine):
    machine.images["embryofl-server:latest"] = today(40)
    code, level, text = machine.finding("Images older than 30 days: embryofl-server (")
    assert (code, level) == (0, "look") and "update EmbryoFL" in text and "prometheus" not in text


def test_containers_that_do_not_run(machine):
    machine.containers = [
        ["embryofl-server-1", "embryofl", "server", "running", "Up 2 hours (unhealthy)", ""],
        ["embryofl-console-1", "embryofl", "console", "exited", "Exited (1) 5 minutes ago", ""],
        ["other", "", "", "exited", "Exited (1) 5 minutes ago", ""],
    ]
    code, level, text = machine.finding(
        "Not running: embryofl-server-1 (Up 2 hours (unhealthy)), embryofl-console-1 (Exited (1)"
    )
    assert (code, level) == (0, "look") and "make up" in text and "other" not in text


def certificate(begin, end):
    """A certificate that is valid between two days from now, PEM."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now + datetime.timedelta(begin)).not_valid_after(now + datetime.timedelta(end))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl, as the check does")
@pytest.mark.parametrize("where", ["containers", "demo"])
@pytest.mark.parametrize(
    ("begin", "end", "code", "level", "words"),
    [
        (-10, 300, 0, "ok", "Certificates of the hub: the first expires on"),
        (-20, 11, 0, "ok", "Certificates of the hub: the first expires on"),
        (-22, 9, 0, "look", "Certificates of the hub: the first expires on"),
        (-2000, 20, 0, "look", "Certificates of the hub: the first expires on"),
        (-10, -1, 2, "stop", "Certificates of the hub: the first expired on"),
        (2, 300, 2, "stop", "The clock says"),
    ],
)
def test_certificates_of_the_hub(machine, where, begin, end, code, level, words):
    (machine.programs / "openssl").symlink_to(shutil.which("openssl", path=os.defpath))
    pem = certificate(-20, 3000) + certificate(begin, end)
    if where == "containers":
        machine.containers = [["embryofl-server-1", "embryofl", "server", "running", "Up 2 hours", ""]]
        machine.docker["exec embryofl-server-1 sh -c cat /hub/identity/"] = pem
    else:
        identity = machine.folder / "demo" / "synthetic-3" / "hub" / "identity"
        identity.mkdir(parents=True)
        (identity / "ca.crt").write_text(pem)
        (identity.parents[1] / "supervisor.pid").touch()
    assert machine.finding(words)[:2] == (code, level)


@pytest.mark.parametrize(
    ("words", "level"), [("", "ok"), ("The mail server smtp:587 did not take the message.", "look")]
)
def test_notifications_that_do_not_arrive_are_shown(machine, words, level):
    machine.containers = [["embryofl-notifier-1", "embryofl", "notifier", "running", "Up 2 hours", ""]]
    state = {"id": "x", "hub": "", "channels": {"mail": {"words": words}}}
    machine.docker["exec embryofl-notifier-1 cat /notifier/state.json"] = json.dumps(state)
    code, found, text = machine.finding("Notifications:")
    assert (code, found) == (0, level) and (words or "nothing has failed") in text


GPU = "580.95.05, 9.0, NVIDIA H200"


@pytest.mark.parametrize(
    ("answer", "begin", "remedy"),
    [
        (None, "GPU: nvidia-smi: No such file or directory", "driver 580 or later"),
        ("echo 'NVIDIA-SMI has failed'; exit 9", "GPU: NVIDIA-SMI has failed", "driver 580 or later"),
        (
            f"echo '{GPU}'".replace("580", "550"),
            "GPU: NVIDIA H200, driver 550.95.05 (580 or later",
            "driver 580 or later",
        ),
        (f"echo '{GPU}'".replace("9.0", "6.1"), "GPU: NVIDIA H200 has compute capability 6.1; 7.5", "/whl/cu126"),
        (
            f"echo '{GPU}'",
            'GPU: Docker has no NVIDIA runtime (could not select device driver "nvidia"',
            "nvidia-ctk runtime configure",
        ),
    ],
)
def test_what_a_gpu_needs_is_a_stop_only_if_it_is_wanted(machine, answer, begin, remedy):
    if answer:
        machine.program("nvidia-smi", answer)
        code, level, text = machine.finding(begin)
        assert (code, level) == (0, "look") and remedy in text
        assert machine.run("--short", "containers") == (0, "")
    machine.environment.update(GPU="1", EMBRYOFL_CLINIC_MEMORY="2g")
    code, level, text = machine.finding(begin, "--short", "containers")
    assert (code, level) == (2, "stop") and remedy in text


def test_gpu_that_can_be_used(machine):
    machine.environment["GPU"] = "1"
    machine.program("nvidia-smi", f"echo '{GPU}'")
    machine.info.update(Runtimes={"runc": {}, "nvidia": {}}, MemTotal=32 << 30)
    code, text = machine.run()
    assert code == 0 and "GPU: NVIDIA H200, driver 580.95.05" in text and "look" not in re.findall(r"^\w+", text, re.M)


@pytest.mark.parametrize(
    ("index", "level"),
    [("https://download.pytorch.org/whl/cu130", "ok"), ("https://download.pytorch.org/whl/cpu", "look")],
)
def test_image_of_the_clinic_has_a_cuda_build(machine, index, level):
    machine.environment["GPU"] = "1"
    machine.images["embryofl-clinic:cuda"] = today()
    machine.docker["history"] = f"CMD [run]\nRUN |1 TORCH_INDEX_URL={index} /bin/sh -c pip install torch"
    assert machine.finding(f"GPU: PyTorch in embryofl-clinic:cuda is from {index}")[1] == level


def test_check_that_cannot_be_made_says_so_and_the_others_are_made(machine):
    machine.images["embryofl-server:latest"] = "not a date"
    code, level, text = machine.finding("The check our_images could not be made: ValueError")
    assert (code, level) == (0, "look") and "report" in text
    assert "Running: nothing" in machine.run()[1]


def test_ports_and_cuda_are_those_of_the_compose_files():
    text = "".join((ROOT / f"compose{kind}.yaml").read_text() for kind in ("", ".gpu", ".prometheus"))
    code = SCRIPT.read_text()
    for part, number in re.findall(r"\$\{EMBRYOFL_(CONSOLE|PROMETHEUS|GRAFANA)_PORT:-(\d+)\}", text):
        assert re.search(rf'"{part}": {number}\b', code, re.I)
    assert "/whl/cu13" in text and "13: (580, 7.5)" in code


def test_real_machine_is_checked_without_a_traceback():
    environment = {**os.environ, "HTTPS_PROXY": "http://127.0.0.1:9"}  # so that it does not wait for a name server
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode in (0, 2) and done.stderr == ""
    assert re.fullmatch(r"\d+ ok, \d+ look, \d+ stop", done.stdout.splitlines()[-1])


def test_make_demo_stops_before_anything_is_installed(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        command = ["make", "demo", f"PORT={number}", f"VENV={tmp_path}/venv", f"PYTHON={sys.executable}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and f"Port {number} is in use" in done.stderr and "Installing" not in done.stdout
    assert not (tmp_path / "venv").exists()
