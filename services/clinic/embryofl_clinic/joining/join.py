"""A clinic's way into a federation: read the invite, check the data, show what will be sent, enrol."""

import logging
import sys
import threading
from typing import Any

from rich.console import Console

from embryofl.data_statistics import DataStatistics
from embryofl.errors import UserError
from embryofl.invite import MAX_CODE, Invite
from embryofl.membership import METRICS, SHOWS
from embryofl.process import stop_on_signals
from embryofl.protocol import our_program
from embryofl.settings import RunSettings
from embryofl_clinic.joining.enrol import enrol
from embryofl_clinic.joining.identity import ClinicIdentity, JoinedHub
from embryofl_clinic.policy.rules import describe_releasing, describe_showing, released_metrics, shows_metrics
from embryofl_clinic.policy.sent import SentLog
from embryofl_clinic.settings import ClinicSettings
from embryofl_data.report.facts import data_summary
from embryofl_data.report.run import check_to_join
from embryofl_data.report.terminal import print_report

LOOK_S = 0.5

log = logging.getLogger("embryofl.clinic")


def join_federation(
    settings: ClinicSettings, identity: ClinicIdentity, invite: Invite, stop: threading.Event
) -> JoinedHub:
    """Join the hub of an invite.

    Raises
    ------
    UserError
        When the data cannot be trained on, the hub rejects the clinic, or `stop` is set.
    """
    console = Console()
    report = check_to_join(settings.data_dir, settings.cache_dir, RunSettings().image_size)
    print_report(report, console)
    if report.exit_code:
        raise UserError(
            "D4", "This clinic has not joined: the report above says why its data cannot be used for training."
        )
    choices = {SHOWS: shows_metrics(settings.state_dir), METRICS: released_metrics(settings.state_dir)}
    summary = {**data_summary(report.facts), **choices}
    preview = "\n".join(enrolment_preview(invite.name, settings.meaning, summary))
    console.print(preview, highlight=False, soft_wrap=True, markup=False)
    hub = enrol(identity, invite, settings.meaning, summary, stop, SentLog(settings.state_dir))
    identity.note_used(invite.secret)
    log.info("joined the hub as %s", hub.name)
    if settings.invite_file is not None and settings.invite_file.is_relative_to(settings.state_dir):
        settings.invite_file.unlink(missing_ok=True)  # used up
    return hub


def read_invite(settings: ClinicSettings, *, prompt: bool) -> Invite | None:
    """The invite in EMBRYOFL_INVITE_FILE if there is that file, otherwise on standard input; None if that is empty.

    An invite code is a secret: it is no argument and in no environment variable, which `ps` and `docker inspect` show.

    Parameters
    ----------
    settings : ClinicSettings
    prompt : bool
        Ask for it also where standard input is no terminal, as with `docker exec -i`.

    Raises
    ------
    UserError
        When there is an invite that cannot be read.
    """
    if settings.invite_file is not None and settings.invite_file.exists():
        try:
            return Invite.parse(settings.invite_file.read_text())
        except OSError as exc:
            raise UserError("J1", f"The invite file {settings.invite_file} cannot be read ({exc.strerror}).") from exc
    if prompt or sys.stdin.isatty():
        print("Paste the invite code and press Enter:", file=sys.stderr, flush=True)
    code = sys.stdin.readline(MAX_CODE + 1).strip()
    return Invite.parse(code) if code else None


def first_join(settings: ClinicSettings, identity: ClinicIdentity) -> JoinedHub:
    """Join with the invite that there is. Without one, wait until `embryofl-clinic join` has joined with this state folder.

    Raises
    ------
    UserError
        As `read_invite` and `join_federation`; when a signal ends the process before.
    """
    invite = read_invite(settings, prompt=False)  # Ctrl-C still interrupts it
    stop = stop_on_signals()
    if invite:
        return join_federation(settings, identity, invite, stop)
    log.info(
        "not a member of a hub yet: waiting for embryofl-clinic join (docker exec -i embryofl embryofl-clinic join)"
    )
    while (hub := identity.membership) is None:
        if stop.wait(LOOK_S):
            raise UserError("J1", "Stopped before this clinic has joined a hub. Join it with: embryofl-clinic join")
    return hub


def enrolment_preview(name: str, meaning: str, summary: dict[str, Any]) -> list[str]:
    """Everything that the hub receives when this clinic joins, in lines; counts below 5 as they are sent, "<5"."""
    lines = ["This is sent to the hub now, and nothing else about the data:", f"  name: {name}"]
    lines.append(f"  meaning of label 1: {meaning}")
    program = our_program()
    lines.append(f"  version: {program.version} (protocol {program.protocol})")
    lines.append(f"  patients: {summary['patients']}")
    for day, counts in summary["counts"].items():
        images = ", ".join(f"label {k}: {n}" if k in "01" else f"{k}: {n}" for k, n in counts.items())
        lines.append(f"  images of day {day}: {images}")
    if "statistics" in summary:
        statistics = DataStatistics.model_validate(summary["statistics"])
        means = ", ".join(f"{name} {m.mean:.3g} ± {m.variance**0.5:.2g}" for name, m in statistics.measures.items())
        lines.append(f"  over all {statistics.images} images together: {means}")
        lines.append(
            "  a histogram of 16 steps of each of these (fewer than 5 images in a step: sent as 0), and of all grey levels"
        )
    sizes = ", ".join(f"{size}: {n}" for size, n in summary["image_sizes"].items())
    lines.append(f"  images by their longer side in pixels: {sizes}")
    lines.append(f"  {describe_releasing(summary[METRICS])}")
    lines.append(f"  {describe_showing(bool(summary.get(SHOWS)))}")
    return [*lines, "  the public half of a key that was made here, and the proof that the private half is here"]
