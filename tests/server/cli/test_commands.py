"""The commands of `embryofl-server`: the request each sends to the hub, its output and its exit code."""

import json

import pytest
from typer.testing import CliRunner

from embryofl import states
from embryofl.errors import UserError
from embryofl.states import OVER
from embryofl_server.cli import commands, members, show

RUN = {
    "name": "run-0002",
    "round": 3,
    "state": "paused",
    "reason": "",
    "settings": {"rounds": 9, "clinics": []},
    "metrics": [],
    "updates": "x",
    "metrics_seen": "y",
}


@pytest.fixture
def hub(monkeypatch):
    """A hub that records each call and replies with `replies`."""
    calls, replies = [], {"/control/clinics": [{"name": "clinic-2"}]}

    def call(method, path, body=None):
        calls.append((path, body))
        return replies.get(path, RUN)

    for module in (commands, members):
        monkeypatch.setattr(module, "call", call)
    call.calls, call.replies = calls, replies
    return call


def invoke(*arguments):
    return CliRunner().invoke(commands.app, arguments)


@pytest.mark.parametrize("name", ["resume", "continue"])
@pytest.mark.parametrize("run", [(), ("run-0002",)])
def test_resume_and_its_alias_resume_a_run(hub, name, run):
    done = invoke(name, *run)
    assert done.exit_code == 0 and "run-0002 is resumed after round 3" in done.output
    assert hub.calls == [("/control/continue", {"run": "".join(run)})]


def test_resume_of_a_clinic_names_the_right_command_and_changes_nothing(hub):
    done = invoke("resume", "clinic-2")
    assert isinstance(done.exception, UserError)
    assert done.exception.text == "clinic-2 is a clinic. To lift its suspension: reinstate clinic-2"
    assert [path for path, _ in hub.calls] == ["/control/clinics"]


def test_reinstate_lifts_a_suspension(hub):
    assert "clinic-2 is reinstated" in invoke("reinstate", "clinic-2").output
    assert hub.calls == [("/control/resume", {"name": "clinic-2"})]


def test_approve_shows_the_numbers_of_images_that_it_confirms(hub):
    summary = {"counts": {"5": {"0": 60, "1": 60}}}
    waiting = {
        "name": "porto",
        "state": "waiting",
        "labelled": 120,
        "patients": 40,
        "meaning": "quality",
        "summary": summary,
    }
    hub.replies["/control/clinics"] = [waiting]
    hub.replies["/control/approve"] = {"state": "enrolled", "approved": 120, "most_embryos": 144}
    text = invoke("approve", "porto").output
    assert "120 labelled (quality), 40 patients; day 5: 60 label 1, 60 label 0" in text
    assert "porto is enrolled" in text and "up to 144 embryos count" in text
    invoke("approve", "porto", "--images", "90")
    hub.replies["/control/clinics"] = [{**waiting, "state": "enrolled"}]
    assert "porto: Confirmed" in invoke("approve", "porto", "--images", "900").output
    invoke("approve", "porto")
    assert [body["images"] for path, body in hub.calls if path == "/control/approve"] == [120, 90, 900, None]


def test_invite_code_alone_and_reconnect_invite(hub):
    hub.replies["/control/invites"] = {"invite": "embryofl1.code", "expires": 0.0, "manual": False}
    assert invoke("invite", "porto", "--code").output == "embryofl1.code\n"
    text = invoke("invite", "porto", "--reconnect").output
    assert text.splitlines()[-1] == "embryofl1.code" and text.count("embryofl1.code") == 1
    assert text.count("embryofl-clinic join") == 3 and "Key and membership stay" in text
    assert [body["again"] for _, body in hub.calls] == [False, True]


def test_every_final_state_has_a_label_and_a_colour():
    assert set(OVER) <= set(states.RUN)
    assert {str(show.state_text(states.RUN, state)) for state in OVER} == {"Finished", "Stopped", "Failed"}


def test_following_a_run_that_did_not_finish_exits_with_1(hub):
    hub.replies["/control/status?metrics=newest"] = {
        "time": 0.0,
        "run": {**RUN, "state": "failed", "reason": "No clinic."},
        "progress": {"round": 3, "phase": "idle", "round_began": 0.0, "waiting": None},
        **{key: [] for key in ("queued", "paused", "to_approve")},
        "hub": {"tunnel": {}},
        "clinics": {"anna": {"state": "done", "labelled": None, "metrics": "own", "detail": ""}},
        "metrics_seen": "",
    }
    done = invoke("status", "--follow")
    assert done.exit_code == 1 and "Failed" in done.output and "Replied" in done.output


def test_json_is_what_the_hub_replies(hub):
    assert json.loads(invoke("runs", "--json").output) == RUN
