"""A clinic's first step: look at the data, show what will be sent of it, and join with an invite."""

import logging
import threading
from typing import Any

from embryofl.data_statistics import DataStatistics
from embryofl.errors import UserError
from embryofl.invite import Invite
from embryofl.membership import SHOWS
from embryofl.settings import RunSettings
from embryofl_clinic.joining.identity import ClinicIdentity, JoinedHub
from embryofl_clinic.policy.rules import shown_words, shows_metrics
from embryofl_clinic.policy.sent import SentLog
from embryofl_clinic.settings import ClinicSettings

log = logging.getLogger("embryofl.clinic")


def join_federation(settings: ClinicSettings, identity: ClinicIdentity, stop: threading.Event) -> JoinedHub:
    """Join the hub of the invite in the settings.

    Raises
    ------
    UserError
        When there is no invite, the data cannot be trained on, the hub refuses, or `stop` is set.
    """
    from rich.console import Console

    from embryofl_clinic.joining.enrol import enrol
    from embryofl_data.report.facts import data_summary
    from embryofl_data.report.run import check_to_join
    from embryofl_data.report.terminal import print_report

    invite = Invite.parse(_word(settings))
    console = Console()
    report = check_to_join(settings.data_dir, settings.cache_dir, RunSettings().image_size)
    print_report(report, console)
    if report.exit_code:
        raise UserError(
            "This clinic does not join: its data cannot be trained on as it is, for the reasons in the report above."
        )
    summary = {**data_summary(report.facts), SHOWS: shows_metrics(settings.state_dir)}
    console.print(
        "\n".join(enrolment_preview(invite.name, settings.meaning, summary)),
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    sent = SentLog(settings.state_dir)
    membership = enrol(identity, invite, settings.meaning, summary, stop, lambda size: sent.note("enrolment", size))
    identity.note_used(invite.secret)
    log.info("joined the hub as %s", membership.name)
    if settings.invite_file is not None and settings.invite_file.is_relative_to(settings.state_dir):
        settings.invite_file.unlink(missing_ok=True)  # used up
    return membership


def reconnect_invite(settings: ClinicSettings, identity: ClinicIdentity) -> Invite | None:
    """The invite that a clinic which has joined is given, if it is a new one. One that was used here is none, whatever it
    names: that authority may have been changed since.

    Raises
    ------
    UserError
        When there is an invite that cannot be read.
    """
    if not settings.invite and (settings.invite_file is None or not settings.invite_file.exists()):
        return None
    invite = Invite.parse(_word(settings))
    return None if identity.has_used(invite.secret) else invite


def _word(settings: ClinicSettings) -> str:
    if settings.invite:
        return settings.invite
    if settings.invite_file is not None:
        try:
            return settings.invite_file.read_text()
        except OSError as exc:
            raise UserError(f"The invite file {settings.invite_file} cannot be read ({exc.strerror}).") from exc
    raise UserError(
        "This clinic has not joined a hub yet and has no invite. Expected was EMBRYOFL_INVITE: ask the coordinator "
        "for the line to run (`make invite CLINIC=NAME` prints it)."
    )


def enrolment_preview(name: str, meaning: str, summary: dict[str, Any]) -> list[str]:
    """Everything the hub is told when this clinic joins, in lines; counts below 5 stand as they are sent, as "<5"."""
    lines = ["This is sent to the hub now, and nothing else of the data:", f"  name: {name}"]
    lines.append(f"  what label 1 means: {meaning}")
    lines.append(f"  patients: {summary['patients']}")
    for day, counts in summary["counts"].items():
        words = ", ".join(f"label {k}: {n}" if k in "01" else f"{k}: {n}" for k, n in counts.items())
        lines.append(f"  day {day}: {words}")
    if "statistics" in summary:
        lines += statistics_lines(DataStatistics.model_validate(summary["statistics"]))
    sizes = ", ".join(f"{size}: {n}" for size, n in summary["image_sizes"].items())
    lines.append(f"  images by their longer side in pixels: {sizes}")
    lines.append(f"  {shown_words(bool(summary.get(SHOWS)))}")
    return [*lines, "  the public half of a key that was made here, and the proof that the private half is here"]


def statistics_lines(own: DataStatistics) -> list[str]:
    """What is told of light and colour, in lines."""
    figures = ", ".join(f"{name} {m.mean:.3g} ± {m.variance**0.5:.2g}" for name, m in own.measures.items())
    return [
        f"  over all {own.images} images together: {figures}",
        "  of each of these a histogram of 16 steps (fewer than 5 images in a step: told as 0), and of all grey levels",
    ]
