"""Before each round: wait until enough clinics are online."""

import time
from collections.abc import Sequence

from embryofl_server.federation.fleet import Node
from embryofl_server.federation.fleet_session import FleetSession
from embryofl_server.federation.run_context import RunFailed

PRESENCE_S = 0.3  # between two checks of who is online, while too few are


def gather(session: FleetSession, number: int, done: int, names: Sequence[str] = ()) -> dict[str, Node]:
    """Wait until `min_clinics` of those that take part are online, or all of `names`; returns them by name.

    Parameters
    ----------
    session : FleetSession
    number : int
        Of the round that they are for.
    done : int
        The last complete round.
    names : sequence of str, optional
        The only clinics that are asked.

    Raises
    ------
    Halted
    RunFailed
        When too few are online after `join_wait_s`.
    """
    run, context = session.run, session.context
    settings, progress = run.settings, context.progress
    named, least = (names or settings.clinics), (len(names) or settings.min_clinics)
    since, last_shown = time.time(), None
    until = since + settings.join_wait_s
    while True:
        clinics = {name: clinic for name, clinic in context.store.clinics().items() if not named or name in named}
        enrolled = [name for name, clinic in clinics.items() if clinic.state == "enrolled" and not clinic.outdated]
        online = {n: node for n, node in session.nodes().items() if node.online and n in enrolled}
        if len(online) >= least:
            if last_shown is not None:
                run.set_state("running", done)
            progress.go_on()
            return online
        missing = sorted(set(enrolled) - set(online))
        suspended = sorted(name for name, clinic in clinics.items() if clinic.state == "suspended")
        outdated = sorted(name for name, c in clinics.items() if c.state == "enrolled" and c.outdated)
        progress.phase("waiting", number, settings.rounds)
        progress.begin(sorted(online), "online")
        for name in missing:
            progress.clinic(name, "offline")
        why = f"{len(online)} of at least {least} clinics are online"
        if suspended:
            why += f"; suspended: {', '.join(suspended)}"
        if gone := {*named} - {*enrolled, *suspended, *outdated}:
            why += f"; no longer enrolled: {', '.join(sorted(gone))}"
        if outdated:
            why += f"; to be updated (embryofl-server clinics): {', '.join(outdated)}"
        progress.wait(missing, since, until, "the run fails", why)
        if last_shown != (missing, why):
            last_shown = (missing, why)
            run.set_state("waiting", done, why)
            run.event("waiting", round=number, why=why, missing=missing)
        if time.time() > until:
            raise RunFailed(
                "R3",
                f"{why} after waiting {settings.join_wait_s:g} s; missing: {', '.join(missing) or 'not enrolled yet'}."
                f" Start those clinics, or {'ask others' if names else 'start a run with a smaller min_clinics'}.",
            )
        session.pause(PRESENCE_S)
