"""`study leave-one-out`: what it asks the hub for, what it refuses, and what it takes up again."""

import pytest
from typer.testing import CliRunner

from embryofl_server.cli import commands, study
from embryofl_server.federation.run_settings import check_settings

NAMES = ["lisbon", "porto", "turin"]
AUROC = {"value": 0.8, "interval": [0.7, 0.9]}


class Hub:
    """A hub with these clinics, whose runs are over at once, and which keeps what it was told to do."""

    def __init__(self, releases="own", names=NAMES):
        self.clinics = [{"name": name, "state": "enrolled", "metrics": releases} for name in names]
        self.runs, self.validated, self.end = [], {}, "finished"

    def __call__(self, method, path, body=None):
        match (method, path.removeprefix("/control/").split("/")):
            case "GET", ["clinics"]:
                return self.clinics
            case "POST", ["estimate"]:
                return {"settings": self.settings(body)}
            case "GET", ["runs"]:
                return self.runs
            case "POST", ["runs"]:
                run = {"name": f"run-{len(self.runs) + 1:04}", "settings": self.settings(body), "note": body["note"]}
                self.runs.append({**run, "state": self.end, "round": 1, "reason": "No quorum."})
                return self.runs[-1]
            case "POST", ["validate"]:
                self.validated[body["run"]] = body["clinics"]
                return {}
            case "GET", ["runs", name, "outline"]:
                return next(run for run in self.runs if run["name"] == name)
            case "GET", ["runs", name, "results"]:
                return self.results(name)

    def settings(self, body):
        values = {"min_clinics": len(self.clinics) - 1, **body["settings"]}
        return check_settings(values).model_dump(mode="json")

    def results(self, name):
        all_days = {"n": 40, "positives": 20, "auroc": AUROC}
        clinics = {clinic: {"all": all_days} for clinic in self.validated.get(name, [])}
        return {
            "run": name,
            "splits": {"test": {"pooled": {"all": all_days}}},
            "external": {"clinics": clinics, "validations": []} if clinics else None,
            "settings": {"rounds": 2},
            "use": "Research use only.",
        }


@pytest.fixture
def typed(monkeypatch):
    def typed(hub, *words):
        monkeypatch.setattr(study, "call", hub)
        return CliRunner().invoke(commands.app, ["study", "leave-one-out", *words])

    return typed


def test_each_clinic_is_left_out_once_and_evaluates_the_model_of_the_others(typed):
    hub = Hub()
    done = typed(hub, "--set", "rounds=2")
    assert done.exit_code == 0, done.output
    assert [run["settings"]["clinics"] for run in hub.runs] == [
        ["porto", "turin"],
        ["lisbon", "turin"],
        ["lisbon", "porto"],
    ]
    assert hub.validated == {f"run-{n:04}": [name] for n, name in enumerate(NAMES, 1)}
    assert all(name in done.stdout for name in NAMES) and "3 together: AUROC 0.800" in done.stdout


def test_the_same_command_trains_and_validates_nothing_again_and_other_settings_do(typed):
    hub = Hub()
    first = typed(hub, "--json").stdout
    hub.validated.pop("run-0003")
    assert typed(hub, "--json").stdout == first and len(hub.runs) == 3 and hub.validated["run-0003"] == ["turin"]
    hub.runs[0]["state"] = "stopped"
    hub.runs[1]["note"] = ""
    assert typed(hub).exit_code == 0 and [run["name"] for run in hub.runs[3:]] == ["run-0004", "run-0005"]
    assert typed(hub, "--set", "seed=5").exit_code == 0 and len(hub.runs) == 8


def test_what_cannot_be_told_is_refused_before_a_run(typed):
    for hub, words, reason in (
        (Hub("pooled"), [], "release no metrics of their own"),
        (Hub(), ["--set", "clinics=lisbon,porto"], "needs 3 clinics or more; there are 2"),
        (Hub(), ["--set", "clinics=lisbon,porto,rome"], "rome are not enrolled"),
        (Hub(names=[*NAMES, "vigo"]), ["--set", "seed=1"], "Leave out seed"),
    ):
        done = typed(hub, *words)
        assert reason in str(done.exception) and hub.runs == [], done.output


def test_a_run_that_fails_ends_the_study_with_its_reason(typed):
    hub = Hub()
    hub.end = "failed"
    assert "run-0001 is failed: No quorum." in str(typed(hub).exception)


def test_html_is_a_page_of_its_own(typed):
    assert typed(Hub(), "--html").stdout.startswith("<!doctype html>")
