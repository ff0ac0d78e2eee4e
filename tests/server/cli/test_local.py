"""What `make up` and `make demo` do alike: joining, starting a run, the closing lines."""

import pytest
from typer.testing import CliRunner

from embryofl.errors import UserError
from embryofl_server.cli import commands, local

SETTINGS = {"rounds": 9, "seed": 0}
CLINICS = ["clinic-1", "clinic-2", "clinic-3"]


class Hub:
    """A hub with these clinics and this current run, which keeps each run that is started."""

    def __init__(self, clinics=(), run=None):
        self.clinics, self.run, self.started = list(clinics), run, []

    def __call__(self, method, path, body=None):
        if path == "/control/clinics":
            return [{"name": name} for name in self.clinics]
        if path == "/control/invites":
            return {"invite": f"embryofl1.{body['name']}"}
        if method == "POST":
            self.started.append(body["settings"])
            return {"name": "run-0003", "settings": {**SETTINGS, **body["settings"]}}
        return {"run": self.run, "time": 0.0, "hub": {"tunnel": {"up": False, "words": "No token."}}}


def run_in(state):
    return {"name": "run-0002", "state": state, "round": 4, "settings": SETTINGS}


@pytest.mark.parametrize("run", [None, run_in("finished"), run_in("failed"), run_in("stopped")])
def test_run_is_started_when_none_is_unfinished(run):
    hub = Hub(run=run)
    assert local.begin_run(hub, {"rounds": 2}) == "run-0003: 2 rounds of training"
    assert hub.started == [{"rounds": 2}]
    assert local.begin_run(hub, {"rounds": 1}) == "run-0003: 1 round of training"


def test_unfinished_run_keeps_its_settings_and_those_that_differ_are_named():
    hub = Hub(run=run_in("running"))
    text = local.begin_run(hub, {"rounds": 2, "seed": 0})
    assert text.startswith("run-0002 continues after round 4\n") and "rounds=9 (not 2)." in text and "seed" not in text
    assert local.begin_run(hub, {}) == "run-0002 continues after round 4"
    assert "make hub DO=resume" in local.begin_run(Hub(run=run_in("paused")), {})
    assert hub.started == []


def test_waiting_ends_when_all_clinics_are_known_or_the_time_is_over(monkeypatch):
    hub = Hub(["clinic-1"])
    monkeypatch.setattr(local.time, "sleep", lambda _: hub.clinics.append("clinic-2"))
    checks = []
    assert local.wait_until_joined(hub, ["clinic-1", "clinic-2"], 60, lambda: checks.append(1)) == []
    assert len(checks) == 2
    assert local.wait_until_joined(Hub(["clinic-1"]), ["clinic-1", "clinic-2"], -1) == ["clinic-2"]


def test_first_person_is_made_once_and_gets_a_new_password_on_request():
    people, asked = [], []

    def hub(method, path, body=None):
        if method == "POST":
            asked.append((path, body["name"], body.get("role")))
            people.append({"name": body["name"]})
        return people

    password = local.first_password(hub)
    assert len(password) >= 20 and local.first_password(hub) == "" != local.first_password(hub, new=True) != password
    first = local.FIRST
    assert asked == [("/control/people", first, "coordinator"), ("/control/people/password", first, None)]


def invoke(monkeypatch, hub, *arguments):
    monkeypatch.setattr(local, "call", hub)
    return CliRunner().invoke(commands.app, ["local", *arguments])


def test_only_clinics_that_the_hub_does_not_know_are_invited(monkeypatch):
    done = invoke(monkeypatch, Hub(["clinic-1", "lisbon"]), "invites", *CLINICS, "--have", "clinic-1,clinic-2")
    assert done.output == "clinic-2 embryofl1.clinic-2\nclinic-3 embryofl1.clinic-3\n"


def test_clinic_whose_key_is_lost_is_named(monkeypatch):
    done = invoke(monkeypatch, Hub(CLINICS), "invites", *CLINICS, "--have", "clinic-1,clinic-3")
    assert isinstance(done.exception, UserError)
    assert str(done.exception).startswith("The hub knows clinic-2,") and "make clean" in str(done.exception)


def test_settings_of_the_run_are_separated_by_commas(monkeypatch):
    hub = Hub()
    assert invoke(monkeypatch, hub, "start", "rounds=2,seed=3").output == "run-0003: 2 rounds of training\n"
    assert invoke(monkeypatch, hub, "start", "").exit_code == 0
    assert hub.started == [{"rounds": 2, "seed": 3}, {}]


def test_wait_exits_with_1_while_a_clinic_is_missing(monkeypatch):
    assert invoke(monkeypatch, Hub(["clinic-1"]), "wait", "clinic-1").exit_code == 0
    assert invoke(monkeypatch, Hub(["clinic-1"]), "wait", *CLINICS, "--seconds", "0").exit_code == 1


def test_closing_lines_name_every_part_and_the_next_commands(monkeypatch):
    parts = [
        "console\thttp://localhost:7860\t",
        "prometheus\thttp://localhost:9090\t failed to bind host port: address already in use",
        "grafana\thttp://localhost:3000\t no space left",
    ]
    options = [option for part in parts for option in ("--part", part)]
    lines = invoke(monkeypatch, Hub(run=run_in("running")), "closing", "8443", "at", *options).output.splitlines()
    assert len(lines) <= 12
    assert [line.split()[0] for line in lines if line] == [
        *("Gateway", "Console", "Metrics", "Grafana"),
        *("Follow", "Model", "Stop", "No"),
    ]
    assert lines[-1] == "No tunnel: No token. The local network is not affected."
    assert "https://localhost:8443 " in lines[1] and lines[2].endswith(
        "  runs, clinics, results; from this machine only"
    )
    assert "  did not start: its port is in use." in lines[3] and lines[3].endswith("#s3)")
    assert lines[4].endswith("  did not start: no space left (S10: docs/troubleshooting.md#s10)")
    assert "/hub/runs/run-0002 ." in lines[6]


def test_closing_lines_name_the_passwords_files_and_how_to_publish_what_is_not(monkeypatch):
    options = ["--part", "prometheus\t\t", "--part", "grafana\thttp://localhost:3000\t"]
    output = invoke(monkeypatch, Hub(run=run_in("running")), "closing", "8443", "at", *options).output
    assert "not published" in output and "EMBRYOFL_PROMETHEUS_PORT=9090 make up" in output
    assert "at/grafana-password" in output and "prometheus-password" not in output
