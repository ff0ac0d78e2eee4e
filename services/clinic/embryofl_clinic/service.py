"""The clinic process: look at the data, join if need be, work until told to stop."""

import logging
import os
import signal
import threading

from embryofl.errors import UserError
from embryofl.invite import Invite
from embryofl.messages import RunSettings
from embryofl_clinic import exporter
from embryofl_clinic.exporter import TrainerMetrics
from embryofl_clinic.identity import Identity, Membership
from embryofl_clinic.settings import ClinicSettings
from embryofl_clinic.workload import Workbench

# Before flwr is imported: no telemetry, no look for updates.
os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1")

log = logging.getLogger("embryofl.clinic")


def serve(settings: ClinicSettings, bench: Workbench | None = None) -> None:
    """Run one clinic in this process.

    Raises
    ------
    UserError
        When the data cannot be trained on, or the clinic cannot join.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("httpx", "httpcore", "flwr"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    identity = Identity(settings.identity_dir)
    membership = identity.membership or _join(settings, identity, stop)
    moved = [h.strip() for h in settings.hubs.split(",") if h.strip()]
    if moved:  # trusted only with the certificate of the hub it joined
        membership = membership.model_copy(update={"hubs": moved})
    import torch

    if settings.threads:
        torch.set_num_threads(settings.threads)
    own = bench is None
    metrics = TrainerMetrics(membership.name, settings.state_dir / "alive")
    exporter.start(settings, metrics)
    bench = bench or Workbench(settings, metrics)
    if own:
        bench.warm_up()
    from embryofl_clinic.agent import Agent

    Agent(settings, identity, membership, bench, stop, metrics).run()
    log.info("stopped")


def _join(settings: ClinicSettings, identity: Identity, stop: threading.Event) -> Membership:
    from rich.console import Console

    from embryofl_clinic.join import join
    from embryofl_clinic.report import check_to_join, data_summary
    from embryofl_clinic.report.terminal import print_report

    word = settings.invite
    if not word and settings.invite_file is not None:
        try:
            word = settings.invite_file.read_text()
        except OSError as exc:
            raise UserError(f"The invite file {settings.invite_file} cannot be read ({exc.strerror}).") from exc
    if not word:
        raise UserError(
            "This clinic has not joined a hub yet and has no invite. Expected was EMBRYOFL_INVITE: ask the coordinator "
            "for the line to run (`embryofl-server invite NAME` prints it)."
        )
    invite = Invite.parse(word)
    report = check_to_join(settings.data_dir, settings.cache_dir, RunSettings().image_size)
    print_report(report, Console())
    if report.exit_code:
        raise UserError(
            "This clinic does not join: its data cannot be trained on as it is, for the reasons in the report above."
        )
    summary = data_summary(report.facts)
    log.info("what the hub is told of the data: %s", summary)
    membership = join(identity, invite, settings.meaning, summary, stop)
    log.info("joined the hub as %s", membership.name)
    if settings.invite_file is not None and settings.invite_file.is_relative_to(settings.state_dir):
        settings.invite_file.unlink(missing_ok=True)  # used up
    return membership
