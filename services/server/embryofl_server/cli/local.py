"""What `make up` and `make demo` do alike once the hub is running: have this machine's clinics join, start a run, and say
where everything is. `embryofl-server local` offers the same to scripts/compose.sh."""

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from embryofl import exits
from embryofl.errors import UserError, with_code
from embryofl.states import OVER
from embryofl_server.api.client import call
from embryofl_server.cli import show
from embryofl_server.cli.secret import make_password

app = typer.Typer()

FIRST = "coordinator"
"""The first person's name."""
Hub = Callable[..., Any]  # the control API: `hub(method, path, body)`
PARTS = {
    "console": ("Console", "runs, clinics, results; from this machine only"),
    "prometheus": ("Metrics", "Prometheus; user embryofl, password in {place}/prometheus-password; alerts: /alerts"),
    "grafana": ("Grafana", "dashboards; user admin, password in {place}/grafana-password"),
    "notifier": ("Notices", "to test them: make notify-test"),
}
"""By service, the parts that the federation can do without: their names, and what is said of them."""
UNPUBLISHED = "Prometheus, for Grafana; to publish it: EMBRYOFL_PROMETHEUS_PORT=9090 make up"
Names = Annotated[list[str], typer.Argument(help="The clinics on this machine.")]


def local_clinics(count: int) -> list[str]:
    """Names of the clinics on this machine."""
    return [f"clinic-{number}" for number in range(1, count + 1)]


def wait_until_joined(
    hub: Hub, names: list[str], seconds: float, check: Callable[[], object] = lambda: None
) -> list[str]:
    """Wait until the hub knows these clinics, at most `seconds`; returns those that it does not know.

    A clinic that awaits approval, or was suspended or revoked, is known: the coordinator decides about it. `check` is
    called before each request.
    """
    end = time.monotonic() + seconds
    while True:
        check()
        known = {clinic["name"] for clinic in hub("GET", "/control/clinics")}
        missing = [name for name in names if name not in known]
        if not missing or time.monotonic() > end:
            return missing
        time.sleep(0.5)


def begin_run(hub: Hub, settings: dict[str, Any]) -> str:
    """Start a run, unless one has not ended: that one keeps its settings, and those given now are named as unused. Returns
    what was done, in words."""
    run = hub("GET", "/control/status")["run"]
    if not run or run["state"] in OVER:
        run = hub("POST", "/control/runs", {"settings": settings})
        rounds = run["settings"]["rounds"]
        return f"{run['name']}: {rounds} round{'s' if rounds > 1 else ''} of training"
    if run["state"] == "paused":
        return f"{run['name']} is paused; resume it with: make hub DO=resume"
    text = f"{run['name']} continues after round {run['round']}"
    unused = [f"{n}={run['settings'][n]} (not {v})" for n, v in settings.items() if run["settings"].get(n) != v]
    if unused:
        text += f"\nIt keeps the settings it was started with: {', '.join(unused)}. SET is for the next run."
    return text


def first_password(hub: Hub, *, new: bool = False) -> str:
    """Make the hub's first person, unless there are people: the password, which is stored nowhere; "" if nothing was made.
    `new`: make a new password for the first person, which ends that person's sessions."""
    people = hub("GET", "/control/people")
    if people and not new:
        return ""
    password = make_password()
    if people:
        hub("POST", "/control/people/password", {"name": people[0]["name"], "password": password})
    else:
        hub("POST", "/control/people", {"name": FIRST, "role": "coordinator", "password": password})
    return password


def closing_lines(parts: list[tuple[str, str, str]]) -> str:
    """The parts that run and the commands that come next, a line each: name, address or command, remark."""
    width = max(len(where) for _, where, _ in parts)
    return "\n".join(f"{name:9} {where:{width}}  {remark}".rstrip() for name, where, remark in parts)


@app.command()
def invites(
    names: Names, have: Annotated[str, typer.Option(help="Those that have a key, separated by commas.")] = ""
) -> None:
    """Invite the clinics that have not joined: a name and an invite code a line."""
    members = {clinic["name"] for clinic in call("GET", "/control/clinics")}
    if lost := [name for name in names if name in members and name not in have.split(",")]:
        raise UserError(
            "S11",
            f"The hub knows {', '.join(lost)}, but the volume with the key is gone. Expected the volumes that make up "
            "created. Start over with: make clean",
        )
    for name in names:
        if name not in members:
            typer.echo(f"{name} {call('POST', '/control/invites', {'name': name, 'local': True})['invite']}")


@app.command()
def wait(names: Names, seconds: Annotated[float, typer.Option(help="How long, at most.")] = 5.0) -> None:
    """Wait for the clinics to join. Exit code 1 when some have not."""
    if wait_until_joined(call, names, seconds):
        raise typer.Exit(exits.NO)


@app.command()
def start(settings: Annotated[str, typer.Argument(help="Run settings name=value, separated by commas.")] = "") -> None:
    """Start a run, unless one has not ended."""
    from embryofl_server.federation.run_settings import parse_settings

    typer.echo(begin_run(call, parse_settings([option for option in settings.split(",") if option])))


@app.command()
def password(
    at: Annotated[str, typer.Argument(help="The console's address.")],
    new: Annotated[bool, typer.Option("--new", help="Replace the first person's password.")] = False,
) -> None:
    """Make the hub's first person, or with --new a password for the first person, and print the password once."""
    words = "new password (shown this once; sessions with the old one have ended)"
    if not new:
        words = "password (shown this once; for a new one: make console-password)"
    if made := first_password(call, new=new):
        typer.echo(f"Console: {at}, {words}: {made}")


@app.command()
def closing(
    port: Annotated[int, typer.Argument(help="The gateway's published port.")],
    place: Annotated[str, typer.Argument(help="The folder of the passwords.")],
    part: Annotated[
        list[str] | None,
        typer.Option(help="A further part: service, address, why it did not start, between tabs. Repeatable."),
    ] = None,
) -> None:
    """Print where everything is, and what to type next."""
    status = call("GET", "/control/status")
    lines = [("Gateway", f"https://localhost:{port}", "clinics connect here; the only port open to other machines")]
    for line in part or []:
        service, address, failure = line.split("\t", 2)
        name, remark = PARTS[service]
        remark = remark.format(place=place) if address else UNPUBLISHED
        lines.append((name, address or "not published", f"did not start: {_reason(failure)}" if failure else remark))
    lines.append(("Follow", "make watch", "once: make status     logs: make logs"))
    if run := status["run"]:
        lines.append(("Model", f"docker compose cp server:/hub/runs/{run['name']} .", "when the run is finished"))
    lines.append(("Stop", "make down", "keeps everything; the next make up continues from there"))
    typer.echo("\n".join(["", closing_lines(lines), *show.hub_lines(status["hub"], status["time"])]))


def _reason(failure: str) -> str:
    """Why a part did not start, from Docker's words, with the code of the trouble."""
    if "port is already allocated" in failure or "address already in use" in failure:
        return with_code("S3", "its port is in use. Choose another and run make up again.")
    return with_code("S10", failure.strip())
