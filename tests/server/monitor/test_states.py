"""The states shown to people, derived from the store, the round loop and the SuperLink."""

import pytest

from embryofl import states
from embryofl_server.monitor.overview import clinic_state, round_phase

IN_ROUND = ("online", "training", "evaluating", "done", "late", "refused", "failed", "offline")


@pytest.mark.parametrize(
    ("membership", "in_round", "online", "shown"),
    [
        ("suspended", "training", True, "suspended"),  # whatever the rest
        ("suspended", "", None, "suspended"),
        ("enrolled", "", True, "online"),
        ("enrolled", "", False, "offline"),
        ("enrolled", "", None, "enrolled"),  # the SuperLink does not reply
        ("enrolled", "training", None, "enrolled"),
        ("enrolled", "training", True, "training"),
        ("enrolled", "training", False, "offline"),  # it went offline after the round loop's check
        ("enrolled", "offline", True, "online"),  # it is online again
        ("enrolled", "done", True, "done"),
        ("enrolled", "late", True, "late"),
        ("waiting", "", True, "waiting"),  # for approval
        ("revoked", "", False, "revoked"),
    ],
)
def test_clinic_state(membership, in_round, online, shown):
    assert clinic_state(membership, in_round, online) == shown


def test_every_state_of_a_member_has_a_label():
    shown = {
        clinic_state(membership, in_round, online)
        for membership in ("enrolled", "suspended")
        for in_round in ("", *IN_ROUND)
        for online in (True, False, None)
    }
    assert shown == set(states.CLINIC)


@pytest.mark.parametrize("run", ["none", *states.RUN])
def test_round_has_a_phase_only_while_its_run_is_under_way(run):
    assert round_phase(run, "training") == ("training" if run in ("waiting", "running") else "idle")
