"""What the federation tests share: clinics with drawn images, a federation of real processes, and waiting for conditions."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
import psutil
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image

from embryofl.clinic_keys import certificate
from embryofl.invite import HUB_NAME, Invite
from embryofl.membership import HubContact
from embryofl.states import OVER
from embryofl_clinic.joining.identity import ClinicIdentity
from embryofl_clinic.joining.route import Route
from embryofl_clinic.policy.rules import ONE_OWNER
from embryofl_demo.layout import DemoFolder
from embryofl_demo.stack import Stack, hub_environment, program
from kits import KITS
from kits.ports import free_port
from kits.preloaded import preloaded, run

WAIT_S = 180.0  # enough on a busy machine; on an idle one nothing here takes a tenth of it
SETTINGS = {
    "model": "small_cnn",
    "rounds": 2,
    "image_size": 48,
    "local_epochs": 1,
    "batch_size": 16,
    "min_clinics": 3,
    "seed": 1,
    "secure_aggregation": "off",  # runs are repeated with the same seed and other settings, which clinics refuse to mask
}


def route_to(port: int, ca: Path, key: ec.EllipticCurvePrivateKey) -> Route:
    """The route to a gateway on this machine of the clinic with this key."""
    shown = certificate(key)
    return Route(HubContact(hubs=[f"localhost:{port}"], ca=ca.read_text(), server_name=HUB_NAME), "", lambda: shown)


def until(what: str, ready: Callable[[], Any], seconds: float = WAIT_S, pause: float = 0.1) -> Any:
    """Wait until `ready()` is true and return its value; fail by name otherwise."""
    end = time.monotonic() + seconds
    while True:
        value = ready()
        if value:
            return value
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s"
        time.sleep(pause)


def typed(command: str, *words: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment to its end; the caller checks its exit code."""
    return run([program(command), *words], {**os.environ, **env}, WAIT_S, stdin)


@cache
def _models() -> TemporaryDirectory[str]:
    """For `initial_model`; removed when this process ends."""
    return TemporaryDirectory()


@cache
def initial_model(name: str, seed: int, grades: bool) -> str:
    """The file of the initial model of runs with this seed, made as hubs make it, without the seconds of importing PyTorch."""
    program, path = find_spec("embryofl.models.initial"), Path(_models().name) / f"{name}-{seed}-{grades}.safetensors"
    assert program is not None and program.origin is not None
    made = run([program.origin, name, "", str(seed), str(int(grades)), str(path)], os.environ, WAIT_S)
    assert made.returncode == 0, made.stderr
    return str(path)


def draw_clinic(
    root: Path,
    tag: str,
    patients: int = 24,
    cohort: int = 3,
    label: int | None = None,
    disc: float = 0.0,
    *,
    graded: bool = False,
) -> Path:
    """A clinic's folder of small noisy images, brighter for class 1, with `tag` in every name.

    With `disc`, the classes differ in something that can be learned: a disc whose radius is larger by `disc` pixels for
    class 1 and varies by 2 from image to image. With `graded`, every embryo has Gardner grades that fit its label.
    """
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(tag.encode()).digest()[:4], "big"))
    (root / "images").mkdir(parents=True)
    lines = ["image,label,patient,embryo,day" + (",expansion,icm,te" if graded else "")]
    far = np.hypot(*np.mgrid[-28:28, -28:28])
    for number in range(patients * cohort):
        its_label = number % 2 if label is None else label
        if disc:
            pixels = rng.integers(0, 100, (56, 56, 3), dtype=np.uint8)
            pixels[far < 11 + disc * (its_label - 0.5) + 2 * rng.normal()] += 120
        else:
            pixels = rng.integers(0, 160, (56, 56, 3), dtype=np.uint8) + np.uint8(70 * its_label)
        name = f"FILE-{tag}-{rng.integers(1 << 40):010x}.png"
        Image.fromarray(pixels).save(root / "images" / name)
        patient, embryo = f"PATIENT-{tag}-{number // cohort:03}", f"EMBRYO-{tag}-{number:03}"
        lines.append(
            f"images/{name},{its_label},{patient},{embryo},{3 if number // cohort % 2 else 5}"
            + (f",{2 + 3 * its_label},{'CA'[its_label]}," if graded else "")
        )
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


class TestStack(Stack):
    """A stack for tests: its own ports, clinics with a fast clock (`quick_clinic.py`), processes forked from a preloaded one.

    Clinics named in `via` are invited to that port, where a proxy in front of the gateway listens.
    """

    __test__ = False
    free_port = staticmethod(free_port)

    def __init__(self, place: DemoFolder, port: int, *, ngrok: bool = False, forked: bool = True) -> None:
        super().__init__(place, port, ngrok=ngrok, preloaded=preloaded() if forked else None)
        self.via: dict[str, int] = {}

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        result = super().call(method, path, body)
        if path == "/control/invites" and body and body["name"] in self.via:
            invite = Invite.parse(result["invite"])
            result = {"invite": invite.model_copy(update={"hubs": [f"localhost:{self.via[body['name']]}"]}).code()}
        return result

    def start_clinic(self, name: str, command: list[str] | None = None) -> None:
        policy = self.place.clinic(name) / "policy.toml"
        if not policy.exists():
            policy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            policy.write_text(ONE_OWNER)
        super().start_clinic(name, command or [sys.executable, str(KITS / "quick_clinic.py"), "run"])


class Federation:
    """Hub and clinics as real processes below `root`; `forked` from one that has imported them, or started as a user would."""

    def __init__(self, root: Path, *, ngrok: bool = False, forked: bool = True) -> None:
        self.place = DemoFolder(root)
        root.mkdir(parents=True, exist_ok=True)
        self.stack = TestStack(self.place, free_port(), ngrok=ngrok, forked=forked)
        self.port = self.stack.ports["gateway"]

    @property
    def ca(self) -> Path:
        return self.place.hub / "identity" / "ca.crt"

    def join(self, names: list[str], command: list[str] | None = None) -> None:
        for name in names:
            self.stack.start_clinic(name, command)
        self.stack.wait_enrolled(names, WAIT_S)

    @contextmanager
    def with_attacker(self, honest: list[str], evil: str) -> Iterator[None]:
        """The hub, these clinics, and one that does to each update what its file `attack` says."""
        try:
            self.stack.start_hub()
            for name in honest:
                self.stack.start_clinic(name)
            self.stack.start_clinic(evil, [sys.executable, str(KITS / "attacking_clinic.py")])
            self.stack.wait_enrolled([*honest, evil], WAIT_S)
            yield
        finally:
            self.stack.stop()

    @property
    def metrics_login(self) -> tuple[str, str]:
        """User and password of the hub's metrics."""
        return "embryofl", (self.place.hub / "identity" / "metrics.password").read_text()

    def metrics(self) -> str:
        """The hub's metrics, as Prometheus reads them."""
        url = f"http://127.0.0.1:{self.stack.ports['metrics']}/metrics"
        return httpx.get(url, auth=self.metrics_login, verify=False).raise_for_status().text  # HTTP: nothing to verify

    def status(self) -> dict[str, Any]:
        """The hub's status, even while the server restarts."""

        def fetch() -> Any:
            self.stack.supervisor.check()
            try:
                return self.stack.call("GET", "/control/status")
            except Exception:
                return None

        return until("the hub's status", fetch)

    def start_run(self, *, initial: str | None = None, **settings: Any) -> str:
        """Start a run from `initial_model`, or from `initial`; with "", the hub makes the model itself."""
        settings = {**SETTINGS, **settings}
        if initial is None:
            initial = initial_model(settings["model"], settings["seed"], bool(settings.get("grades")))
        body = {"settings": settings, "initial": initial}
        return str(self.stack.call("POST", "/control/runs", body)["name"])

    def wait_over(self, name: str) -> dict[str, Any]:
        def over() -> Any:
            run = self.status()["run"]
            return run if run["name"] == name and run["state"] in OVER else None

        return until(f"{name} is over", over, pause=0.2)  # each check takes CPU time from the clinics

    def run(self, *, initial: str | None = None, **settings: Any) -> Path:
        """Start a run (see `start_run`), check that it finishes, and return its folder."""
        name = self.start_run(initial=initial, **settings)
        run = self.wait_over(name)
        assert run["state"] == "finished", (run["state"], run["reason"], self.logs())
        return self.folder(name)

    def wait_online(self) -> None:
        """Wait until all started clinics are online (no run is under way)."""

        def ready() -> bool:
            clinics = self.status()["clinics"]
            return all(clinics[n]["state"] == "online" for n in self.stack.supervisor.pids() if n in clinics)

        until("all are online", ready, pause=0.5)

    def stop_run(self) -> None:
        """Stop a run that a failed test left behind."""
        run = self.status()["run"]
        if run and run["state"] not in OVER:
            self.stack.call("POST", "/control/stop")
            self.wait_over(run["name"])

    def folder(self, run: str) -> Path:
        return self.place.hub / "runs" / run

    def events(self, run: str, kind: str) -> list[dict[str, Any]]:
        lines = (self.folder(run) / "events.jsonl").read_text().splitlines()
        return [e for e in map(json.loads, lines) if e["kind"] == kind]

    def records(self, run: str) -> list[dict[str, Any]]:
        """The rounds' records, from round 0."""
        return [json.loads(p.read_text()) for p in sorted(self.folder(run).glob("round-*.json"))]

    def audit(self, event: str) -> list[dict[str, Any]]:
        lines = (self.place.hub / "audit.jsonl").read_text().splitlines()
        return [e for e in map(json.loads, lines) if e["event"] == event]

    def hub(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """`embryofl-server WORDS`, as the coordinator types it."""
        return typed("embryofl-server", *words, stdin=stdin, **hub_environment(self.place))

    def clinic(self, name: str, *words: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        """`embryofl-clinic WORDS`, as it is typed at a clinic."""
        words = (*words, "--state", str(self.place.clinic(name)))
        return typed("embryofl-clinic", *words, stdin=stdin, **{"EMBRYOFL_DATA_DIR": str(self.place.data(name)), **env})

    def identity(self, name: str) -> ClinicIdentity:
        return ClinicIdentity(self.place.clinic(name) / "identity")

    def pid(self, name: str) -> int:
        return self.stack.supervisor.pids()[name]

    def end(self, name: str, number: signal.Signals) -> None:
        """Send a signal that ends a process, and forget it."""
        process = self.stack.supervisor.children.pop(name).process
        assert process is not None
        process.send_signal(number)
        process.wait(WAIT_S)

    def remove(self, name: str) -> None:
        """Stop a process with SIGTERM; a clinic signs off from the hub."""
        self.end(name, signal.SIGTERM)

    def kill(self, name: str) -> None:
        """SIGKILL; the supervisor does not start the process again."""
        self.end(name, signal.SIGKILL)

    def restart(self, name: str, **odd: str) -> None:
        """Kill a clinic and start it again, as an odd clinic (see odd_clinic.py) or a normal one; wait until it is connected."""
        if name in self.stack.supervisor.children:
            self.kill(name)
        command = ["env", *(f"{k}={v}" for k, v in odd.items()), sys.executable, str(KITS / "odd_clinic.py")]
        before = len(self.log(name))
        self.stack.start_clinic(name, command if odd else None)
        until(
            f"{name} is connected again", lambda: "connected to" in self.log(name)[before:]
        )  # the hub still counts it as online

    def under_way(self, run: str, round_: int) -> None:
        """Wait until a round of a run is in training, or over."""

        def ready() -> bool:
            info = self.status()
            assert info["run"]["state"] not in ("finished", "failed"), (info["run"], "the run was over too soon")
            now = info["progress"]
            return bool(info["run"]["name"] == run and now["round"] >= round_ and now["phase"] == "training")

        until(f"round {round_} is under way", ready)

    def log(self, name: str) -> str:
        return (self.place.logs / f"{name}.log").read_text()

    def logs(self) -> str:
        return "\n".join(f"== {p.name}\n{p.read_text()[-3000:]}" for p in sorted(self.place.logs.glob("*.log")))


@contextmanager
def clean_environment() -> Iterator[None]:
    """Remove the caller's EMBRYOFL_ and FLWR_ variables, and use one thread."""
    saved = dict(os.environ)
    for key in saved:
        if key.startswith(("EMBRYOFL_", "FLWR_")):
            del os.environ[key]
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


def processes_of(root: Path) -> list[psutil.Process]:
    """All live processes whose environment or command line names a path below `root`, except this one."""
    processes = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
            if process.pid != os.getpid() and process.status() != "zombie" and any(str(root) in w for w in words):
                processes.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return processes
