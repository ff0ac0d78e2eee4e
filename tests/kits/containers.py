"""A federation in real containers, as `make up` starts it, with its own project name and port."""

import ast
import base64
import json
import os
import shutil
import ssl
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from embryofl.states import OVER
from kits import federation
from kits.code_blocks import blocks
from kits.ports import free_port

ROOT = Path(__file__).parents[2]
PROJECT = "-".join(filter(None, ("embryofl-test", os.environ.get("PYTEST_XDIST_WORKER"))))
"""Each worker of pytest-xdist has a federation of its own."""
QUICK = {"model": "small_cnn", "image_size": 48, "local_epochs": 1, "rounds": 1}
"""Settings of a run that only has to take place."""


def why_not() -> str:
    """Why containers cannot be used here; "" if they can."""
    if shutil.which("docker") is None:
        return "Docker is not installed"
    for command, reason in (
        (["docker", "compose", "version"], "Docker has no Compose plugin"),
        (["docker", "info"], "Docker's engine does not reply"),
    ):
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return reason
    return ""


def run(*command: str, env: dict[str, str] | None = None, stdin: str = "", ok: bool = True) -> str:
    """Run a command and return its output (both streams); with `ok`, a failure is an AssertionError with that output."""
    done = subprocess.run(
        command,
        input=stdin,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
    )
    assert not ok or done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def until(what: str, ready: Callable[[], Any], seconds: float = 120.0) -> Any:
    """`federation.until` with longer pauses: every check starts a process in a container."""
    return federation.until(what, ready, seconds, pause=0.5)


class Containers:
    """`make` and `docker` for one project; its files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.port, self.grafana_port, self.console_port = (free_port() for _ in range(3))
        self._control: dict[str, tuple[str, ssl.SSLContext]] = {}  # by container: the control API's token and authority
        self.environment = {
            "COMPOSE_PROJECT_NAME": PROJECT,
            "EMBRYOFL_COMPOSE_DIR": str(folder),
            "EMBRYOFL_DEMO_DIR": str(folder / "no-demo"),
            "EMBRYOFL_HOSTNAMES": "localhost,127.0.0.1",
            "EMBRYOFL_CONSOLE_PORT": str(self.console_port),
            "EMBRYOFL_PROMETHEUS_PORT": "",
            "EMBRYOFL_GRAFANA_PORT": str(self.grafana_port),
            "CLINICS": "",
            "DATA": "",
            "IMAGES": "",
            "SET": "",
            "GPU": "",
            "YES": "",
        }

    def make(self, target: str, ok: bool = True, stdin: str = "", **options: str | int) -> str:
        """`make TARGET NAME=value ...`"""
        words = [f"{name}={value}" for name, value in {"PORT": self.port, **options}.items()]
        return run("make", "--no-print-directory", target, *words, env=self.environment, stdin=stdin, ok=ok)

    def up(self, settings: dict[str, Any] | None = None, ok: bool = True, **options: str | int) -> str:
        """`make up` with a quick run."""
        together = {**QUICK, **(settings or {})}
        return self.make("up", ok, SET=",".join(f"{k}={v}" for k, v in together.items()), **options)

    def clean(self) -> None:
        """`make clean` for containers, even those of an interrupted session, whose notes are in another folder."""
        run("bash", "scripts/compose.sh", "clean", env={**self.environment, "YES": "1"})

    def page(self, page: str, words: str, replaced: dict[str, str] | None = None, **options: str) -> str:
        """Run the commands of a page's block that holds `words`, with `options` in the environment, as `make` reads them."""
        (block,) = [b for b in blocks() if b.containers and b.page == page and words in b.text]
        text = block.text
        for old, new in (replaced or {}).items():
            assert old in text, (old, text)
            text = text.replace(old, new)
        env = {**self.environment, "PORT": str(self.port), **options}
        return run("bash", "-euxo", "pipefail", "-c", text, env=env)

    def container(self, service: str) -> str:
        """The id of a service's container."""
        label = "label=com.docker.compose"
        return run(
            "docker",
            "ps",
            "-aq",
            "--no-trunc",
            "--filter",
            f"{label}.project={PROJECT}",
            "--filter",
            f"{label}.service={service}",
        ).strip()

    def containers(self) -> dict[str, dict[str, Any]]:
        """`docker inspect` of all containers of the project, by service."""
        ids = run("docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={PROJECT}").split()
        details = json.loads(run("docker", "inspect", *ids)) if ids else []
        return {c["Config"]["Labels"]["com.docker.compose.service"]: c for c in details}

    def inside(self, service: str, *command: str, ok: bool = True) -> str:
        """Run something in a service's container."""
        return run("docker", "exec", self.container(service), *command, ok=ok)

    def python(self, service: str, code: str) -> str:
        """Run Python in a service's container."""
        return self.inside(service, "python", "-c", code)

    def reached(self, service: str, targets: Sequence[tuple[str, int]], seconds: float = 2.0) -> list[tuple[str, int]]:
        """The hosts and ports that accept a connection from a service's container within `seconds`; all are tried at once."""
        code = f"""
import socket
from concurrent.futures import ThreadPoolExecutor
def accepts(target):
    try:
        socket.create_connection(target, timeout={seconds}).close()
    except OSError:
        return False
    return True
targets = {list(targets)}
with ThreadPoolExecutor(len(targets)) as pool:
    print([target for target, yes in zip(targets, pool.map(accepts, targets)) if yes])
"""
        return cast(list[tuple[str, int]], ast.literal_eval(self.python(service, code)))

    def hub(self, *command: str) -> str:
        """Run a hub command."""
        return self.inside("server", "embryofl-server", *command)

    def start(self, **settings: Any) -> str:
        """Start a quick run; return its name."""
        return self.hub("start", *(f"--set={k}={v}" for k, v in {**QUICK, **settings}.items())).split()[0]

    def status(self) -> dict[str, Any]:
        """The hub's status, from its control API: `embryofl-server status --json` would take a second of the CPU."""
        server = self.container("server")
        if server not in self._control:  # asking for them again would start processes in the container each time
            token = run("docker", "exec", server, "od", "-An", "-v", "-tx1", "/hub/identity/control.token")
            context = ssl.create_default_context(cadata=self.inside("server", "cat", "/hub/identity/internal.crt"))
            context.check_hostname = False  # it is for the name that the parts use
            self._control[server] = "".join(token.split()), context
        token, context = self._control[server]
        where = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"  # this machine reaches all of them
        address = run("docker", "inspect", "-f", where, server).split()[0]
        request = urllib.request.Request(f"https://{address}:9000/control/status")
        request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, context=context, timeout=20) as response:
            status: dict[str, Any] = json.load(response)
        return status

    def finished(self, seconds: float = 240.0) -> dict[str, Any]:
        """The newest run, once it is over. Its state is read from its file: a hub command would take a second of the CPU."""

        def over() -> bool:
            state = self.inside("server", "sh", "-c", 'cat "$(ls -d /hub/runs/run-* | tail -n 1)/state.json"')
            return json.loads(state)["state"] in OVER

        until("the run is over", over, seconds)
        newest: dict[str, Any] = self.status()["run"]
        assert newest["state"] == "finished", (newest["reason"], self.make("logs"))
        return newest

    def audit(self, event: str) -> list[dict[str, Any]]:
        """Lines of the hub's audit log."""
        lines = [json.loads(line) for line in self.inside("server", "cat", "/hub/audit.jsonl").splitlines()]
        return [line for line in lines if line["event"] == event]

    @property
    def grafana_password(self) -> str:
        """Grafana's admin password, created by the first `make up`."""
        return (Path(self.environment["EMBRYOFL_COMPOSE_DIR"]) / "grafana-password").read_text().strip()

    @property
    def prometheus(self) -> str:
        """Prometheus's address, which is not published. A user of this machine reaches it all the same."""
        where = f'{{{{(index .NetworkSettings.Networks "{PROJECT}_desk").IPAddress}}}}'
        return f"http://{run('docker', 'inspect', '-f', where, self.container('prometheus')).strip()}:9090"

    def prometheus_request(self, path: str, **headers: str) -> urllib.request.Request:
        """A request to Prometheus, with its login."""
        folder = Path(self.environment["EMBRYOFL_COMPOSE_DIR"])
        login = f"embryofl:{(folder / 'prometheus-password').read_text().strip()}"
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        return urllib.request.Request(self.prometheus + path, headers=headers)

    def _prometheus(self, expr: str) -> dict[str, Any]:
        request = self.prometheus_request(f"/api/v1/query?{urllib.parse.urlencode({'query': expr})}")
        with urllib.request.urlopen(request, timeout=10) as response:
            data: dict[str, Any] = json.loads(response.read())["data"]
        return data

    def query(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """Run a PromQL query: labels and value of each series."""
        return [(series["metric"], float(series["value"][1])) for series in self._prometheus(expr)["result"]]

    def history(self, selector: str, span: str) -> list[tuple[dict[str, str], list[float]]]:
        """All values of the matching series over `span`: labels and values of each."""
        series_list = self._prometheus(f"{selector}[{span}]")["result"]
        return [(series["metric"], [float(v) for _, v in series["values"]]) for series in series_list]

    def ask(self, path: str, method: str = "GET") -> int:
        """Send a request from the host to the gateway's published port; return the status code."""
        context = ssl.create_default_context(cadata=self.inside("server", "cat", "/hub/identity/ca.crt"))
        body = b"{}" if method in ("POST", "PUT") else None
        request = urllib.request.Request(f"https://localhost:{self.port}{path}", method=method, data=body)
        try:
            with urllib.request.urlopen(request, context=context, timeout=10) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code


def trained(run_info: dict[str, Any], round_: int) -> set[str]:
    """The clinics whose update a round counted."""
    return {x["clinic"] for x in run_info["metrics"] if x["split"] == "train" and x["round"] == round_}
