"""Status, console and Prometheus metrics show the same state of each clinic at the same moment."""

import re

import pytest

from kits.federation import Federation, draw_clinic, until

SUSPENDED, SLOW, DEAD, USUAL = "guest-9", "clinic-2", "clinic-3", "clinic-1"


@pytest.fixture
def mixed(federation):
    """One clinic is suspended and one is slow; all four are connected."""
    draw_clinic(federation.place.data(SUSPENDED), SUSPENDED)
    federation.join([SUSPENDED])
    federation.restart(SLOW, ODD_SLOW="5000")
    federation.wait_online()
    federation.stack.call("POST", "/control/suspend", {"name": SUSPENDED})
    yield federation
    federation.stop_run()
    federation.restart(SLOW)
    federation.restart(DEAD)
    federation.remove(SUSPENDED)
    federation.stack.call("POST", "/control/revoke", {"name": SUSPENDED})


def from_metrics(federation: Federation) -> tuple[dict[str, str], str, str]:
    """States of the clinics and of the run, and the phase of the round."""
    text = federation.metrics()
    clinics = re.findall(r'embryofl_clinic_state\{clinic="([^"]+)",state="(\w+)"\} 1\.0', text)
    (run,) = re.findall(r'embryofl_run_state\{state="(\w+)"\} 1\.0', text)
    (phase,) = re.findall(r'embryofl_round_phase\{phase="(\w+)"\} 1\.0', text)
    return dict(clinics), run, phase


def from_json(state: dict) -> tuple[dict[str, str], str, str]:
    return {n: c["state"] for n, c in state["clinics"].items()}, state["run"]["state"], state["progress"]["phase"]


def agreed_states(federation: Federation) -> dict[str, str]:
    """The states of this test's clinics, as soon as nothing changes while all three sources are read."""

    def unchanged() -> list:
        status = from_json(federation.status())
        state = federation.stack.call("GET", "/control/state")
        both = [from_json(state), from_metrics(federation)]
        roster = {c["name"]: c["does"] for c in state["roster"] if c["does"]}
        return [status, *both, (roster, *status[1:])] if from_json(federation.status()) == status else []

    status, *others = until("a moment without a change", unchanged)
    assert all(other == status for other in others), (status, others)
    return {name: status[0][name] for name in (SUSPENDED, SLOW, DEAD, USUAL)}  # other tests may have left more


def test_status_console_and_metrics_agree_on_a_suspended_a_dead_and_a_slow_clinic(mixed):
    run = mixed.start_run(rounds=1, min_clinics=3, quorum=3, round_deadline_s=600)
    mixed.under_way(run, 1)
    expected = {SUSPENDED: "suspended", SLOW: "training", DEAD: "offline", USUAL: "done"}
    assert agreed_states(mixed)[SUSPENDED] == "suspended"
    mixed.kill(DEAD)
    until("the dead clinic counts as offline", lambda: agreed_states(mixed) == expected, pause=0.3)
    mixed.stop_run()
    expected |= {SLOW: "online", USUAL: "online"}
    until("no clinic is in a round", lambda: agreed_states(mixed) == expected, 60, pause=0.3)
