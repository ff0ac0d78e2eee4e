"""Nothing waits without saying for whom and until when, and nobody holds the others for longer than was agreed."""

import time

from kits.federation import until

SLACK_S = 5.0  # what a busy machine may add


def test_missing_clinic_is_reported_within_five_seconds_and_the_run_fails_at_the_limit(federation):
    name, began = federation.start_run(min_clinics=4, join_wait_s=8), time.time()
    said = until("it says what is missing", lambda: (s := federation.status())["progress"]["waiting"] and s, 5.0)
    assert said["run"]["name"] == name and said["run"]["state"] == "waiting"
    assert said["run"]["reason"] == "3 of at least 4 clinics are online"
    waiting = said["progress"]["waiting"]
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
        said = until(
            "it names clinic-2", lambda: (w := federation.status()["progress"]["waiting"]) and w["for_"] and w, 5.0
        )
        assert "clinic-2" in said["for_"] and "2 of at least 3" in said["why"]
    finally:
        federation.stack.start_clinic("clinic-2")
    assert federation.wait_over(name)["state"] == "finished"


TERMS = {"rounds": 1, "min_clinics": 2, "quorum": 2, "round_deadline_s": 3, "grace_s": 1}


def ends_without_clinic_3(federation):
    folder = federation.run(**TERMS)
    record = federation.records(folder.name)[1]
    assert record["refused"] == {"clinic-3": "late"} and set(record["clinics"]) == {"clinic-1", "clinic-2"}
    assert record["seconds"]["clinics"] < TERMS["round_deadline_s"] + TERMS["grace_s"] + SLACK_S


def test_clinic_killed_before_a_round_does_not_hold_it_past_the_limit(federation):
    """The hub still takes it for online and asks it."""
    federation.wait_online()
    federation.kill("clinic-3")
    ends_without_clinic_3(federation)
    federation.restart("clinic-3", ODD_SLOW="60")  # for the next test


def test_slow_clinic_does_not_hold_a_round_past_the_limit(federation):
    """clinic-3 takes far more than ten times as long as the others."""
    federation.wait_online()
    ends_without_clinic_3(federation)
    federation.restart("clinic-3")
