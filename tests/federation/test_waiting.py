"""The hub reports which clinics it waits for and until when, and no clinic delays the others past the limit."""

import time

from kits.federation import until

SLACK_S = 30.0  # extra time on a busy machine


def test_missing_clinic_is_reported_with_the_limit_at_which_the_run_then_fails(federation):
    name, began = federation.start_run(min_clinics=4, join_wait_s=8), time.time()

    def waiting_status():
        status = federation.status()
        return status if status["progress"]["waiting"] and status["run"]["state"] == "waiting" else None

    status = until("status reports the missing clinic", waiting_status)
    assert status["run"]["name"] == name
    assert status["run"]["reason"] == "3 of at least 4 clinics are online"
    waiting = status["progress"]["waiting"]
    assert waiting["then"] == "the run fails" and 7 <= waiting["until"] - waiting["since"] <= 9
    run = federation.wait_over(name)
    assert run["state"] == "failed" and time.time() - began < 8 + SLACK_S
    assert "3 of at least 4 clinics are online after waiting 8 s" in run["reason"]
    ended = federation.audit("run_ended")[-1]
    assert (ended["run"], ended["state"]) == (name, "failed")


def test_missing_clinic_is_named(federation):
    federation.remove("clinic-2")
    try:
        name = federation.start_run(join_wait_s=300)
        status = until(
            "status names clinic-2", lambda: (w := federation.status()["progress"]["waiting"]) and w["for_"] and w
        )
        assert "clinic-2" in status["for_"] and "2 of at least 3" in status["why"]
    finally:
        federation.stack.start_clinic("clinic-2")
    assert federation.wait_over(name)["state"] == "finished"


LIMITS = {"rounds": 1, "min_clinics": 2, "quorum": 2, "round_deadline_s": 3, "grace_s": 30}


def assert_round_ends_without_clinic_3(federation):
    folder = federation.run(**LIMITS)
    record = federation.records(folder.name)[1]
    assert record["refused"] == {"clinic-3": "late"} and set(record["clinics"]) == {"clinic-1", "clinic-2"}
    assert record["seconds"]["clinics"] < LIMITS["round_deadline_s"] + SLACK_S


def test_clinic_killed_before_a_round_does_not_hold_it_past_the_limit(federation):
    """The hub still considers it online and sends it a request."""
    federation.wait_online()
    federation.kill("clinic-3")
    assert_round_ends_without_clinic_3(federation)
    federation.restart("clinic-3", ODD_SLOW="1000")  # for the next test


def test_slow_clinic_does_not_hold_a_round_past_the_limit(federation):
    """clinic-3 takes minutes to train."""
    federation.wait_online()
    assert_round_ends_without_clinic_3(federation)
    federation.restart("clinic-3")
