"""What the console's first page is alerted to: the conditions of Prometheus' rules that one moment shows."""

import time
from pathlib import Path

import pytest
import yaml

from embryofl.settings import RunSettings
from embryofl_console.texts import texts
from kits.enrolment import join

RULES = Path(__file__).parents[3] / "prometheus" / "rules" / "alerts.yml"


@pytest.fixture
def hub(hub):
    join(hub, "oslo")
    return hub


def firing(hub):
    return {(a.alert, a.clinic) for a in hub.alerts.firing(hub.overview.now())}


def test_every_alert_of_the_console_is_one_of_prometheus():
    rules = {
        rule["alert"]
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    assert set(texts.overview.alert) <= rules


def test_alerts_of_a_run_fire_while_it_is_under_way(hub):
    run = hub.runs.create(RunSettings(rounds=9, min_clinics=1))
    run.set_state("running", 2)
    line = {"clinic": "pooled", "split": "validation", "day": None, "loss": 0.5}
    run.add_metrics([{**line, "round": 0, "auroc": 0.8}, {**line, "round": 1, "auroc": 0.7}])
    run.event("refused", round=1, clinic="oslo", reason="norm", words="too long")
    hub.membership.suspend("oslo", "looked at", "me")
    hub.progress.phase("training", 3, 9)
    hub.progress.begin([], "training")
    hub.progress.terms(time.time() - 1, 60, 2)
    expected = {("AurocFallen", ""), ("UpdateRefused", "oslo"), ("ClinicSuspended", "oslo")}
    assert firing(hub) >= expected | {("RoundOverdue", ""), ("QuorumNotMet", ""), ("SuperLinkAway", "")}
    run.set_state("stopped", 2)
    assert firing(hub) == {("SuperLinkAway", "")}


@pytest.mark.parametrize(
    ("of_gateway", "of_others", "fires"), [(12, 90, set()), (8, 90, {"gateway"}), (12, 20, {"ca"})]
)
def test_full_disk_and_ending_certificate_fire_without_a_run(hub, monkeypatch, of_gateway, of_others, fires):
    assert firing(hub) == {("SuperLinkAway", "")}
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1, "total": 100})())
    left = {"gateway/gateway.crt": of_gateway, "ca.crt": of_others}
    monkeypatch.setattr(hub.identity, "expires", lambda file: time.time() + 86_400.0 * left.get(file, 90))
    hub.alerts._slow = (-60.0, [])
    alerts = hub.alerts.firing(hub.overview.now())
    assert {a.detail for a in alerts if a.alert == "CertificateExpires"} == fires
    assert "DiskNearlyFull" in {a.alert for a in alerts}
