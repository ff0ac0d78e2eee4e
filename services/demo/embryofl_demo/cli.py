"""`embryofl-demo`: a whole federation on one machine, without Docker (`make demo`)."""

import contextlib
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from embryofl import exits
from embryofl.command_line import command_line, run_command
from embryofl.errors import UserError
from embryofl_demo.layout import DemoFolder, base, current

app = command_line("A whole federation as local processes.")
DEFAULT_PORT = 8443
STOP_S = 20.0


@contextlib.contextmanager
def _single(demo: DemoFolder) -> Iterator[None]:
    """Hold the federation's lock; its file names this process."""
    demo.root.mkdir(parents=True, exist_ok=True)
    with demo.pid_file.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                "S11", "This demo federation is already running. See it with make status, or stop it with make down."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
        file.truncate(0)


def _running(demo: DemoFolder) -> int | None:
    """The supervisor's process id, if it is running."""
    if not demo.pid_file.exists():
        return None
    with demo.pid_file.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            return int(file.read() or 0) or None
    return None


@app.command()
def up(
    clinics: Annotated[
        int | None, typer.Option(help="Number of clinics. Default: 3, or the sub-folders of DATA.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Real images: one sub-folder per clinic, or one folder to divide.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the gateway.")] = DEFAULT_PORT,
    images: Annotated[int, typer.Option(help="Synthetic images per clinic.")] = 250,
    option: Annotated[list[str] | None, typer.Option("--set", help="Run setting name=value. Repeatable.")] = None,
    keep: Annotated[bool, typer.Option(help="Keep running after the run, until Ctrl-C or make down.")] = False,
    ngrok: Annotated[bool, typer.Option(help="Open a tunnel (NGROK_AUTHTOKEN, NGROK_AGENT).")] = False,
    notify: Annotated[
        Path | None, typer.Option(help="Tell people by mail or webhook, as this file says. 0 = nobody.")
    ] = None,
) -> None:
    """Start hub and clinics, train once, show the results, stop."""
    from embryofl_demo.data import allow_metrics, choose_demo, prepare
    from embryofl_demo.preloaded import Preloaded
    from embryofl_demo.stack import Stack, check_port
    from embryofl_server.cli import show
    from embryofl_server.cli.local import begin_run, closing_lines
    from embryofl_server.federation.run_settings import check_settings, parse_settings
    from embryofl_server.monitor.notifier.settings import read_channels

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if notify := None if notify == Path("0") else notify:
        read_channels(notify)
    settings = parse_settings(option or [])
    demo, names = choose_demo(data, clinics)
    check_settings({"min_clinics": len(names), **settings})  # now, before anything is started
    console = show.make_console()
    stack = preloaded = None
    with _single(demo):  # held until everything has stopped
        try:
            demo.make_current()
            check_port(port)
            preloaded = Preloaded(demo.root) if sys.platform == "linux" else None  # imports while data are prepared
            console.print(f"[bold]1/4[/bold] Data for {len(names)} clinics in {demo.root / 'data'}", soft_wrap=True)
            prepare(demo, names, data, images)
            console.print(
                f"[bold]2/4[/bold] Hub: gateway on https://localhost:{port}, logs in {demo.logs}", soft_wrap=True
            )
            stack = Stack(demo, port, ngrok=ngrok, notify=notify, preloaded=preloaded)
            stack.start_hub()
            console.print("[bold]3/4[/bold] Clinics join with their own keys")
            for name in names:
                allow_metrics(demo.clinic(name))
                stack.start_clinic(name)
            stack.wait_enrolled(names)
            address, password = stack.start_console()
            shown = (
                f"password (shown only now): {password}" if password else "the password was shown at the first start"
            )
            console.print(f"    Console: {address}, {shown}", soft_wrap=True, highlight=False, markup=False)
            console.print(f"[bold]4/4[/bold] {begin_run(stack.call, settings)}")
            info = show.follow(console, _watched(stack))
            show.print_status(console, info)
            run = info["run"]
            lines = [("Model", str(demo.hub / "runs" / run["name"]), "with metrics, settings, results and model card")]
            if run["state"] == "finished":
                missing = ", ".join(stack.wait_models(run["name"], names))  # they download it while the hub runs
                remark = f"Not yet at {missing}: see KEEP=1." if missing else "The clinics have the model."
                lines.append(("Score", f"make app CLINIC={names[0]}", remark))
            console.print(f"\n{closing_lines(lines)}", soft_wrap=True, highlight=False, markup=False)
            if keep:
                console.print("The federation keeps running until Ctrl-C or make down.")
                while True:
                    stack.supervisor.check()
                    time.sleep(0.5)
            if run["state"] != "finished":
                raise typer.Exit(exits.NO)
        except KeyboardInterrupt:
            console.print("\nStopping. The state is kept; the next make demo continues from there.")
            raise
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # stopping is under way and bounded
            if stack is not None:
                stack.stop()
            if preloaded is not None:
                preloaded.close()


def _watched(stack: Any) -> Any:
    """Fetches the status and restarts dead processes; while the hub is being restarted, the last known status."""
    last: dict[str, Any] = {}

    def fetch() -> dict[str, Any]:
        nonlocal last
        stack.supervisor.check()
        try:
            last = stack.call("GET", "/control/status?metrics=newest")
        except UserError:
            if not last:
                raise
        return last

    return fetch


@app.command()
def down() -> None:
    """Stop the running demo; its state is kept."""
    running = [(demo, pid) for demo in _demos() if (pid := _running(demo))]
    for demo, pid in running:
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + STOP_S
        while _running(demo) and time.monotonic() < end:
            time.sleep(0.1)
        typer.echo(f"Stopped {demo.root.name}; its state is kept.")
    if not running:
        typer.echo("No demo federation is running.")


def _demos() -> list[DemoFolder]:
    return [DemoFolder(p.parent) for p in sorted(base().glob("*/supervisor.pid"))]


@app.command()
def status() -> None:
    """Show run, round, clinics and their latest metrics, and what the hub is waiting for."""
    from embryofl_demo.stack import hub_settings
    from embryofl_server.api.client import call
    from embryofl_server.cli import show
    from embryofl_server.runs.log import Runs
    from embryofl_server.runs.view import RunView

    demo, console = current(), show.make_console()
    if _running(demo):
        show.print_status(console, call("GET", "/control/status?metrics=newest", settings=hub_settings(demo)))
        return
    console.print(f"The demo {demo.root.name!r} is not running. Start it with: make demo")
    run = Runs(demo.hub / "runs").latest()
    if run is None:
        return
    state = run.state
    console.print(
        f"Its last run: {run.name}, {state['state']}, round {state['round']} of {run.settings.rounds}. {state['reason']}"
    )
    if state["state"] == "finished":
        console.print(show.results({"name": run.name, "metrics": RunView(run).lines()}))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def hub(context: typer.Context) -> None:
    """Run `embryofl-server ...` for the demo's hub."""
    from embryofl_demo.stack import hub_environment, program

    command = program("embryofl-server")
    os.execve(command, [command, *context.args], {**os.environ, **hub_environment(current())})  # noqa: S606


@app.command("app")
def app_(
    clinic: Annotated[str, typer.Argument(help="The clinic, such as clinic-1.")] = "clinic-1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the app. 0 = any free port.")] = 8088,
) -> None:
    """Open the app of a demo clinic: `embryofl-clinic app` with its state and its images."""
    from embryofl_demo.stack import program

    demo = current()
    clinics = sorted(path.name for path in demo.clinic(".").glob("*") if path.is_dir())
    if clinic not in clinics:
        raise UserError(
            "S7",
            f"There is no clinic {clinic!r} in {demo.root.name}. Expected one of: {', '.join(clinics) or 'none yet'}.",
        )
    folders = [f"--state={demo.clinic(clinic)}", f"--data={demo.data(clinic)}"]
    command = program("embryofl-clinic")
    os.execv(command, [command, "app", *folders, f"--port={port}"])  # noqa: S606


@app.command()
def console_password() -> None:
    """Create a new password for the first person of the running hub, print it once, end sessions with the old one."""
    from embryofl_demo.stack import new_password

    typer.echo(f"New password of {current().root.name}'s console (shown only now): {new_password(current())}")


@app.command()
def notify_test() -> None:
    """Send a test message by each way that the demo's NOTIFY names."""
    from embryofl_demo.stack import notifier_environment, program

    command, environment = program("embryofl-server"), notifier_environment(current())
    os.execve(command, [command, "notifier", "test"], {**os.environ, **environment})  # noqa: S606


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="Archive written by make backup.")],
    name: Annotated[str, typer.Option(help="The demo federation to restore it to.")] = "synthetic",
    revoked: Annotated[str, typer.Option(help="Clinics revoked since then, with commas, or none.")] = "",
) -> None:
    """Restore a backup to a demo's hub, which must not have any state yet; the next make demo continues from there."""
    from embryofl_server.cli.secret import ask_secret
    from embryofl_server.members.restored import settle
    from embryofl_server.settings import HubSettings
    from embryofl_server.state.backup import opened_for_reading, read_backup
    from embryofl_server.state.encryption import unsealed
    from embryofl_server.state.signer.authority import put_back

    demo = DemoFolder(base() / name)
    settings = HubSettings(state_dir=demo.hub)
    with _single(demo), opened_for_reading(str(file)) as source:
        secret = ask_secret(new=False)
        contents = read_backup(settings, source, secret, partial(settle, revoked=revoked))
        put_back(settings.signer, unsealed(contents.authority, secret))
    demo.make_current()
    typer.echo(f"Restored to {demo.hub}: {contents.runs} runs, {contents.clinics} clinics. Continue with: make demo")


@app.command()
def compare(
    clinics: Annotated[int | None, typer.Option(help="Number of clinics.")] = None,
    data: Annotated[Path | None, typer.Option(help="Real images, as for `up`.")] = None,
    images: Annotated[int, typer.Option(help="Synthetic images per clinic.")] = 250,
    option: Annotated[list[str] | None, typer.Option("--set", help="Run setting name=value. Repeatable.")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Trainings with other random numbers, averaged.")] = 1,
) -> None:
    """Train federated, each clinic alone, pooled, and without each clinic, with the same budget; compare on held-out
    patients. Starts no federation."""
    import json

    from embryofl.files import write_atomic
    from embryofl.schema import there_is_no
    from embryofl_demo import compare as comparison
    from embryofl_demo.data import choose_demo, prepare
    from embryofl_demo.plot import svg
    from embryofl_server.cli import show
    from embryofl_server.federation.run_settings import check_settings, parse_settings

    demo, names = choose_demo(data, clinics)
    settings = check_settings({"min_clinics": len(names), **parse_settings(option or [])})
    for name in settings.clinics:
        if name not in names:
            raise UserError("R1", f"{there_is_no('clinic', name, names)} Clinics: {', '.join(names)}.")
    names = [name for name in names if settings.takes(name)]
    console = show.make_console()
    prepare(demo, names, data, images)
    folders = {n: demo.data(n) for n in names}
    scores = comparison.compare(folders, demo.root / "compare-cache", settings, console.print, seeds)
    aurocs = comparison.aurocs(scores)
    console.print(comparison.table(aurocs))
    out = demo.root / "compare.json"
    results = {"settings": settings.model_dump(), "seeds": seeds, **comparison.as_json(scores, aurocs)}
    write_atomic(out, json.dumps(results, indent=1).encode())
    title = f"AUROC by patient, {settings.model}, {settings.strategy}, {settings.rounds} rounds, {seeds} seed(s)"
    write_atomic(demo.root / "compare.svg", svg(aurocs, title).encode())
    console.print(f"All results: {out}, and as a plot: {out.with_suffix('.svg')}", soft_wrap=True)


@app.command()
def logs(lines: Annotated[int, typer.Option(help="Lines of each log.")] = 15) -> None:
    """Show the end of each process's log."""
    from embryofl_demo.supervisor import last_lines

    for path in sorted(current().logs.glob("*.log")):
        typer.echo(f"==> {path.name} <==\n{last_lines(path, lines)}\n")


@app.command()
def clean(yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False) -> None:
    """Delete all demo federations: models, keys, generated data."""
    import shutil

    if not base().exists():
        typer.echo("There is nothing to delete.")
        return
    down()
    names = ", ".join(p.root.name for p in _demos()) or "nothing yet"
    if not yes and not typer.confirm(f"Delete {base()} ({names}) with its models, keys and data?"):
        typer.echo("Nothing was deleted.")
        raise typer.Exit(exits.NO)
    shutil.rmtree(base())
    typer.echo("Deleted.")


def main() -> None:
    """Entry point."""
    run_command(app)
