"""doctor.py [--short containers|demo]: checks this machine for `make up` and `make demo`, one line a check.

ok = nothing to do, look = may hinder, stop = does hinder (exit code 2); after look and stop, a second line says what to do, with
the code of the trouble in docs/troubleshooting.md.
`--short` is run before `make up` (containers) or `make demo` (demo): only what matters there and is quick, only lines that are
not ok. Nothing is installed when it runs: the standard library alone, Python 3.9 or later.
"""

from __future__ import annotations

import argparse
import collections
import fcntl
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from urllib.parse import urlsplit

OK, LOOK, STOP = "ok", "look", "stop"
Finding = tuple[str, str, str]  # level, what was found, what to do
Container = collections.namedtuple("Container", "name project service state status ports")
TIMEOUT_S, MONTH_S = 10, 30 * 86_400
RUN = {"capture_output": True, "encoding": "utf-8", "errors": "replace", "timeout": TIMEOUT_S}
ROOT = Path(__file__).resolve().parents[1]
PROJECT = os.environ.get("COMPOSE_PROJECT_NAME") or "embryofl"
COMPOSE = ROOT / (os.environ.get("EMBRYOFL_COMPOSE_DIR") or ".embryofl/compose")
DEMOS = ROOT / (os.environ.get("EMBRYOFL_DEMO_DIR") or ".embryofl/demo")
VENV = ROOT / (os.environ.get("VENV") or ".embryofl/venv")
PROXIES = ", ".join(filter(os.environ.get, ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"]))
PORTS = {"gateway": 8443, "console": 7860, "Prometheus": 9090, "Grafana": 3000}
# Free disk in GB. Measured: EmbryoFL's images with Prometheus 3.6, virtual environment 2.3. Not measured: Grafana (about 1),
# build cache, a state that grows; images with CUDA.
IMAGES_GB, CUDA_IMAGES_GB, STATE_GB, VENV_GB = 8, 20, 1, 4
# By CUDA's major version: least driver (docs.nvidia.com/deploy/cuda-compatibility) and compute capability (13 dropped Volta).
CUDA_NEEDS = {12: (525, 0.0), 13: (580, 7.5)}
CUDA_IMAGE = "embryofl-clinic:cuda"
CUDA_TRY = f"docker run --rm --gpus 1 --entrypoint python {CUDA_IMAGE} -m torch.utils.collect_env"
TOOLKIT = "the NVIDIA Container Toolkit (https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html)"
SET_CLOCK = "Set it, such as: sudo timedatectl set-ntp true. A wrong clock breaks TLS."
CODES = {  # of each check's trouble
    **dict.fromkeys(["docker", "compose"], "S1"),
    "python": "S2",
    "port": "S3",
    **dict.fromkeys(["docker_disk", "checkout_disk"], "S4"),
    "memory": "S5",
    **dict.fromkeys(["network", "our_images"], "S6"),
    **dict.fromkeys(["gpu_driver", "gpu_toolkit", "gpu_image"], "S8"),
    "running": "S9",
    "clock": "C5",
    "certificates": "H5",
    "notifications": "H14",
}
WITHOUT = "Without Docker, run the same federation as local processes: make demo"


# -- what several checks look at ---------------------------------------------------------------------------------------
def run(*command: str, text: str = "") -> tuple[int, str]:
    """Exit code and output of a command: 127 if it cannot be started, 124 if it does not end in time."""
    try:
        done = subprocess.run(command, input=text, cwd=ROOT, env={**os.environ, "LC_ALL": "C"}, check=False, **RUN)
    except OSError as error:
        return 127, f"{command[0]}: {error.strerror}"
    except subprocess.TimeoutExpired:
        return 124, f"{command[0]} did not reply within {TIMEOUT_S} s"
    return done.returncode, (done.stdout + done.stderr if done.returncode else done.stdout).strip("\n")


@lru_cache(None)
def engine() -> dict:
    """What `docker info` reports, and all its output as "output". ServerVersion is "" if the engine does not reply."""
    output = run("docker", "info", "--format", "{{json .}}")[1]
    info = re.search(r"^\{.*\}$", output, re.M)
    return {"ServerVersion": "", **json.loads(info[0] if info else "{}"), "output": output}


def rows(*command: str) -> list[list[str]]:
    """The output's lines, divided at tabs; none if the command fails."""
    code, output = run(*command)
    return [line.split("\t") for line in output.splitlines()] if not code else []


@lru_cache(None)
def containers() -> list[Container]:
    labels = ['{{.Label "com.docker.compose.project"}}', '{{.Label "com.docker.compose.service"}}']
    fields = ["{{.Names}}", *labels, "{{.State}}", "{{.Status}}", "{{.Ports}}"]
    return [Container(*row) for row in rows("docker", "ps", "-a", "--format", "\t".join(fields))]


@lru_cache(None)
def images() -> dict[str, float]:
    """Name to time of creation."""
    listed = rows("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}\t{{.CreatedAt}}")
    return {n.removesuffix(":latest"): time.mktime(time.strptime(t[:19], "%Y-%m-%d %H:%M:%S")) for n, t in listed}


@lru_cache(None)
def demos() -> dict[Path, int]:
    """Folders of `make demo`, with the process id of the supervisor, which locks a file while it runs; otherwise 0."""
    pids = {}
    for path in sorted(DEMOS.glob("*/supervisor.pid")):
        with path.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                pids[path.parent] = 0
            except BlockingIOError:
                pids[path.parent] = int(file.read() or 0)
    return pids


def gpu_wanted() -> bool:
    kept = (COMPOSE / "options").read_text().split(" ", 2)[1] if (COMPOSE / "options").exists() else ""
    return (os.environ.get("GPU") or kept) not in ("", "0")


def day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


# -- the checks: a finding each, or None where there is nothing to check -------------------------------------------------
def docker(way: str) -> Finding:
    version, output = engine()["ServerVersion"], engine()["output"]
    if not shutil.which("docker"):
        level = STOP if way or sys.version_info < (3, 11) else LOOK  # make demo is enough
        return level, "Docker is not installed.", f"See https://docs.docker.com/engine/install/. {WITHOUT}"
    if "permission denied" in output:
        found = f"User {run('id', '-un')[1]} has no permission to use Docker."
        return STOP, found, f"Add the user to the group docker, or use sudo. {WITHOUT}"
    if not version:
        found = "does not reply" if "did not reply" in output else "is not running"
        remedy = f"Start it, such as: sudo systemctl start docker. {WITHOUT}"
        return STOP, f"Docker is installed, but its engine {found}.", remedy
    level = OK if int(version.split(".")[0]) >= 25 else STOP
    return level, f"Docker Engine {version} (25 or later is needed)", f"Upgrade it. {WITHOUT}"


def compose() -> Finding | None:
    if not shutil.which("docker"):
        return None
    code, version = run("docker", "compose", "version", "--short")
    level = OK if not code and [int(n) for n in re.findall(r"\d+", version)[:2]] >= [2, 24] else STOP
    found = f"Docker Compose {'plugin: none' if code else version} (2.24 or later is needed)"
    return level, found, f"See https://docs.docker.com/compose/install/. {WITHOUT}"


def python(way: str) -> Finding:
    need = STOP if way or not shutil.which("docker") else LOOK  # make up is enough
    level = OK if sys.version_info >= (3, 11) else need
    found = f"Python {sys.version.split()[0]} (make demo needs 3.11 or later)"
    return level, found, "Install it, or name another Python: make demo PYTHON=python3.12"


def owner(number: int) -> tuple[str, str]:
    """Which way of this federation uses a port ("" = neither), and in words who does."""
    for c in containers():
        if f":{number}->" in c.ports:
            return "containers" if c.project == PROJECT else "", f"container {c.name}"
    running = {demo: pid for demo, pid in demos().items() if pid}
    for demo, pid in running.items():
        if any(number in json.loads(path.read_text()).values() for path in demo.glob("ports.json")):
            return "demo", f"make demo (process {pid})"
    listed = run("ss", "-Hltnp", f"sport = :{number}")[1], run("lsof", "-nPi", f"TCP:{number}", "-sTCP:LISTEN")[1]
    program = re.search(r'\("(.+?)",pid=(\d+)', listed[0]) or re.search(r"^(\S+) +(\d+) ", listed[1], re.M)
    if not program:
        return "", f"another program (to see which: sudo ss -ltnp 'sport = :{number}')"
    own = running and program[1].startswith("embryofl-")  # the console of make demo
    return "demo" if own else "", f"{program[1]} (process {program[2]})"


def port(part: str, way: str) -> Finding:
    variable = "PORT" if part == "gateway" else f"EMBRYOFL_{part.upper()}_PORT"
    value = os.environ.get(variable) or str(PORTS[part])
    if not value.isdigit() or not 0 < int(value) < 65536:
        return STOP, f"{variable}={value} cannot be used.", "Expected a number from 1 to 65535."
    number = int(value)
    with socket.socket() as caller:
        caller.settimeout(1)
        if caller.connect_ex(("127.0.0.1", number)):
            return OK, f"Port {number} ({part}) is free", ""
    own, user = owner(number)
    if own and way in ("", own):
        return OK, f"Port {number} ({part}) is in use by this federation: {user}", ""
    found = f"Port {number} is in use by {user}."
    if part != "gateway":
        remedy = f"Without another one ({variable}={number + 1} make up), {part} does not start in containers."
        return LOOK, found, remedy
    end, target = "make down" if own else "stop that program", "demo" if way == "demo" else "up"
    remedy = f"Expected a free one for the gateway: {end}, or choose another port: make {target} PORT={number + 1}"
    return STOP, found, remedy


def space(folder: Path, needed: int, what: str, remedy: str) -> Finding:
    free = shutil.disk_usage(folder).free / 1e9
    level = OK if free >= needed else LOOK if free >= needed / 2 else STOP
    return level, f"Disk: {free:.1f} GB free in {folder}; {what} about {needed} GB", remedy


def docker_disk() -> Finding | None:
    folder = Path(engine().get("DockerRootDir") or "/")
    if engine().get("Name") != socket.gethostname() or not folder.exists():
        return None  # in Docker Desktop's virtual machine, or on another machine
    present = (CUDA_IMAGE if gpu_wanted() else "embryofl-server") in images()
    needed = STATE_GB if present else CUDA_IMAGES_GB if gpu_wanted() else IMAGES_GB
    remedy = "Remove what Docker no longer uses (docker system prune), or move its data to a larger disk."
    return space(folder, needed, "the state needs" if present else "images and state need", remedy)


def checkout_disk() -> Finding:
    present = (VENV / ".ready").exists()
    what = f"{'the state' if present else 'packages and state'} of make demo may need"
    return space(ROOT, STATE_GB if present else VENV_GB, what, "Free space, or move the checkout to a larger disk.")


def memory() -> Finding | None:
    if not engine().get("MemTotal"):
        return None
    files = ["compose.yaml", "compose.clinic.yaml"] + ["compose.gpu.yaml"] * gpu_wanted()
    text = "".join((ROOT / name).read_text() for name in files)
    gib, units = {}, {"": 2**-30, "b": 2**-30, "k": 2**-20, "m": 2**-10, "g": 1}
    for variable, default in re.findall(r"mem_limit: \$\{(\w+):-(\w+)\}", text):
        limit = re.match(r"(\d+)([bkmg]?)", (os.environ.get(variable) or default).lower())
        gib[variable] = int(limit[1]) * units[limit[2]]
    generated = COMPOSE / "clinics.yaml"
    existing = len(re.findall(r"^  clinic-\d+:", generated.read_text(), re.M)) if generated.exists() else 0
    count = int(os.environ.get("CLINICS") or existing or 3)
    total, needed = engine()["MemTotal"] / 2**30, gib["EMBRYOFL_SERVER_MEMORY"] + count * gib["EMBRYOFL_CLINIC_MEMORY"]
    found = f"Memory: Docker has {total:.1f} GiB; server and {count} clinics may use {needed:.1f} GiB"
    remedy = "Use fewer clinics (CLINICS=2), give Docker more memory, or lower EMBRYOFL_CLINIC_MEMORY."
    return OK if total >= needed else LOOK, found, remedy


def clock() -> Finding:
    committed = run("git", "log", "-1", "--format=%ct")[1]
    newest = max(int(committed) if committed.isdigit() else 0, (ROOT / "Makefile").stat().st_mtime)
    level = OK if time.time() > newest - 86_400 else LOOK
    return level, f"Clock: {day(time.time())} (this checkout is of {day(newest)})", SET_CLOCK


def network() -> Finding:
    if PROXIES:  # which also resolves names
        if engine()["ServerVersion"] and not engine().get("HttpsProxy"):
            remedy = "If it cannot download images: https://docs.docker.com/engine/daemon/proxy/"
            return LOOK, f"Network: {PROXIES}, but Docker's engine uses no proxy.", remedy
        return OK, f"Network: {PROXIES}", ""
    torch = urlsplit(os.environ.get("TORCH_INDEX_URL") or "https://download.pytorch.org").hostname
    hosts = [host for host in (torch, "pypi.org", "registry-1.docker.io") if host]
    for host in hosts:  # in a process, because a search for a name cannot be interrupted
        if run(sys.executable, "-c", "import socket, sys; socket.getaddrinfo(sys.argv[1], 443)", host)[0]:
            remedy = "Images and packages are downloaded from there. Check the network, or set HTTPS_PROXY."
            return LOOK, f"Network: the name {host} is not resolved here.", remedy
    return OK, f"Network: {', '.join(hosts)} are resolved; no proxy", ""


def our_images() -> Finding | None:
    if not engine()["ServerVersion"]:
        return None
    ours = {name: created for name, created in images().items() if name.startswith("embryofl-")}
    if old := [f"{name} ({day(created)})" for name, created in ours.items() if time.time() - created > MONTH_S]:
        remedy = "For fixes of what they are built on, update EmbryoFL (git pull), then: make up"
        return LOOK, f"Images older than 30 days: {', '.join(old)}", remedy
    needed = set(re.findall(r"image: ([^\s:@]+)", (ROOT / "compose.yaml").read_text())) - {"embryofl-tunnel"}
    missing = ", ".join(sorted(needed - {name.partition(":")[0] for name in images()}))  # by digest, they have no tag
    found = f"Images of EmbryoFL: {len(ours)}" + (f", the oldest of {day(min(ours.values()))}" if ours else "")
    return OK, found + (f"; make up builds or downloads {missing}" if missing else ""), ""


def certificates() -> Finding | None:
    paths = [path for demo in demos() for path in demo.glob("hub/identity/*.crt")]
    paths += [path for demo, pid in demos().items() if pid for path in demo.glob("hub/identity/gateway/gateway.crt")]
    servers = [c.name for c in containers() if (c.project, c.service, c.state) == (PROJECT, "server", "running")]
    show = "cat /hub/identity/*.crt /hub/identity/gateway/gateway.crt"  # a running hub has renewed its gateway's
    pem = "".join([p.read_text() for p in paths] + [run("docker", "exec", c, "sh", "-c", show)[1] for c in servers])
    blocks = set(re.findall(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", pem, re.S))
    if not blocks:
        return None
    if not shutil.which("openssl"):
        return LOOK, "Certificates were not checked: openssl is missing.", "make status reports expired ones."
    dates = "\n".join(run("openssl", "x509", "-noout", "-dates", text=block)[1] for block in blocks)
    begins = list(map(ssl.cert_time_to_seconds, re.findall("notBefore=(.+)", dates)))
    ends = list(map(ssl.cert_time_to_seconds, re.findall("notAfter=(.+)", dates)))
    begin, end = max(begins), min(ends)
    soon = min(last - min(MONTH_S, (last - first) / 3) for first, last in zip(begins, ends))
    if time.time() < begin:
        return STOP, f"The clock says {day(time.time())}, but the hub's certificates begin on {day(begin)}.", SET_CLOCK
    level = OK if time.time() < soon else LOOK if time.time() < end else STOP
    found = f"Certificates of the hub: the first expire{'s' if time.time() < end else 'd'} on {day(end)}"
    return level, found, "See docs/operations.md#certificates, and: make status"


def notifications() -> Finding | None:
    """What the notifier says of itself; that it has ended, `running` says."""
    folders = [demo / "notifier" for demo, pid in demos().items() if pid]
    states = [
        (f / "state.json").read_text()
        for f in folders
        if (f / "settings.toml").exists() and (f / "state.json").exists()
    ]
    ours = [c.name for c in containers() if (c.project, c.service, c.state) == (PROJECT, "notifier", "running")]
    found = [run("docker", "exec", name, "cat", "/notifier/state.json") for name in ours]
    states += [text for code, text in found if not code]
    if not states:
        return None
    read = [json.loads(text) for text in states]
    words = [w for s in read for w in [s["hub"], *(told["words"] for told in s["channels"].values())] if w]
    return (
        LOOK if words else OK,
        f"Notifications: {' '.join(words) or 'nothing has failed'}",
        "To test them: make notify-test",
    )


def running() -> Finding:
    own = [c for c in containers() if c.project == PROJECT]
    down = [f"{c.name} ({c.status})" for c in own if c.state != "running" or "unhealthy" in c.status]
    if down:
        return LOOK, f"Not running: {', '.join(down)}", "Start them with: make up   Their logs: make logs"
    parts = [f"{len(own)} containers"] if own else []
    parts += [f"make demo {folder.name} (process {pid})" for folder, pid in demos().items() if pid]
    return OK, f"Running: {', '.join(parts) or 'nothing; start with make up or make demo'}", ""


# -- what compose.gpu.yaml assumes: a driver, the container toolkit, a CUDA build of PyTorch in the image -----------------
def torch_index() -> str:
    """Where the CUDA build of PyTorch comes from; its name ends with cu130 for CUDA 13.0."""
    default = re.search(r"TORCH_INDEX_URL:-([^}]+)", (ROOT / "compose.gpu.yaml").read_text())[1]
    return os.environ.get("TORCH_INDEX_URL") or default


def gpu_driver() -> Finding | None:
    if not gpu_wanted() and not shutil.which("nvidia-smi"):
        return None
    level = STOP if gpu_wanted() else LOOK
    driver, capability = CUDA_NEEDS[13 if "/cu13" in torch_index() else 12]
    remedy = f"Install NVIDIA's driver {driver} or later and restart the machine, or leave out GPU=1."
    code, output = run("nvidia-smi", "--query-gpu=driver_version,compute_cap,name", "--format=csv,noheader")
    if code:
        return level, f"GPU: {output}", remedy
    version, able, name = output.splitlines()[0].split(", ", 2)
    if float(able) < capability:
        remedy = "Use another GPU, or an older build: TORCH_INDEX_URL=https://download.pytorch.org/whl/cu126"
        return level, f"GPU: {name} has compute capability {able}; {capability} or later is needed.", remedy
    level = OK if int(version.split(".")[0]) >= driver else level
    return level, f"GPU: {name}, driver {version} ({driver} or later is needed)", remedy


def gpu_toolkit() -> Finding | None:
    if not engine()["ServerVersion"] or not (gpu_wanted() or shutil.which("nvidia-smi")):
        return None
    if "nvidia" in engine().get("Runtimes", {}) or "nvidia.com/gpu" in str(engine().get("DiscoveredDevices")):
        return OK, "GPU: Docker has the NVIDIA Container Toolkit", ""
    found = 'GPU: Docker has no NVIDIA runtime (could not select device driver "nvidia" with capabilities: [[gpu]]).'
    remedy = f"Install {TOOLKIT}, then: sudo nvidia-ctk runtime configure && sudo systemctl restart docker"
    return STOP if gpu_wanted() else LOOK, found, remedy


def gpu_image() -> Finding | None:
    if not engine()["ServerVersion"] or not gpu_wanted():
        return None
    index = torch_index()
    if CUDA_IMAGE in images():
        history = run("docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", CUDA_IMAGE)[1]
        index = (re.search(r"^RUN \|1 TORCH_INDEX_URL=(\S+)", history, re.M) or ["", "elsewhere"])[1]
    if "/cu" in index:
        return OK, f"GPU: PyTorch in {CUDA_IMAGE} is from {index}", ""
    remedy = f"Run make up GPU=1 without TORCH_INDEX_URL, or try the image: {CUDA_TRY}"
    return LOOK, f"GPU: PyTorch in {CUDA_IMAGE} is from {index}, perhaps not for CUDA.", remedy


def checks(way: str) -> list[Callable[[], Finding | None]]:
    """Those of a short form, or all of them."""
    published = [part for part in PORTS if part != "Prometheus" or os.environ.get("EMBRYOFL_PROMETHEUS_PORT")]
    ports = [partial(port, part, way) for part in published]
    engine_checks, gpu = [partial(docker, way), compose], [gpu_driver, gpu_toolkit, gpu_image]
    if way == "demo":
        return [partial(python, way), ports[0], checkout_disk]
    if way == "containers":
        return [*engine_checks, *ports, docker_disk, memory, *(gpu if gpu_wanted() else [])]
    machine = [partial(python, way), *ports, docker_disk, checkout_disk, memory, clock, network]
    return [*engine_checks, *machine, *gpu, our_images, certificates, notifications, running]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", choices=["containers", "demo"], default="")
    way = parser.parse_args(arguments).short
    counts = dict.fromkeys((OK, LOOK, STOP), 0)
    for check in checks(way):
        name = getattr(check, "func", check).__name__
        try:
            finding = check()
        except Exception as error:
            finding = LOOK, f"The check {name} could not be made: {error!r}", "Please report this line."
        if finding:
            level, found, remedy = finding
            counts[level] += 1
            advice = f"\n      {remedy} ({CODES[name]}: docs/troubleshooting.md#{CODES[name].lower()})"
            text = f"{level:6}{' '.join(found.split())}" + (advice if level != OK else "")
            if level != OK or not way:
                print(text.encode("ascii", "replace").decode(), file=sys.stderr if way else sys.stdout, flush=True)
    if not way:
        print(", ".join(f"{count} {level}" for level, count in counts.items()))
    return 2 if counts[STOP] else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (KeyboardInterrupt, BrokenPipeError):
        os._exit(130)
