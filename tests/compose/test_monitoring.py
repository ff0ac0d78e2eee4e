"""Prometheus beside the federation: it finds hub and clinics, agrees with the run's own lines, and tells of a dead clinic."""

import json
import re
import time
from collections import Counter
from typing import Any

import pytest
from containers_kit import PROJECT, ROOT, Containers, run, until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1500)]
URL = "http://prometheus-desk:9090"
MAY_BE_EMPTY = {  # panels about what went wrong: nothing did
    "Alerts", "Why answers were not taken", "Answers not taken, by reason", "Answers not taken, by clinic",
}  # fmt: skip
VARIABLES = {
    "$clinic": "clinic-1", "$day": "all", "$split": "validation", "$threshold": "0.5", "$__rate_interval": "1m", "$__range": "10m",
}  # fmt: skip


@pytest.fixture(scope="module")
def ask(federation: Containers) -> Any:
    """Put a PromQL question to the Prometheus of the federation: labels and value of each series."""
    if not federation.container("prometheus"):
        pytest.skip("this federation has no Prometheus")

    def query(expr: str) -> list[tuple[dict[str, str], float]]:
        found = json.loads(federation.inside("prometheus", "promtool", "query", "instant", "-o", "json", URL, expr))
        return [(series["metric"], float(series["value"][1])) for series in found]

    return query


def firing(ask: Any) -> set[tuple[str, str]]:
    """Alerts that are firing: name and clinic."""
    return {(m["alertname"], m.get("clinic", "")) for m, _ in ask('ALERTS{alertstate="firing"}')}


def test_it_finds_the_hub_and_every_clinic(ask: Any) -> None:
    found = until(
        "all are scraped", lambda: (u := ask("sum by (job) (up)")) and len(u) == 2 and sum(v for _, v in u) == 4 and u
    )
    assert {m["job"]: v for m, v in found} == {"hub": 1, "clinics": 3}


def test_counts_agree_with_the_runs_own_lines(federation: Containers, ask: Any) -> None:
    federation.finished()
    accepted: Counter[str] = Counter()
    rounds = 0
    for line in federation.inside("server", "sh", "-c", "cat /hub/runs/run-*/events.jsonl").splitlines():
        event = json.loads(line)
        if event["kind"] == "round":
            rounds += 1
            accepted.update(event["accepted"])
    until("the last round is scraped", lambda: [v for _, v in ask("max(embryofl_rounds_total)")] == [rounds], 60)
    found = {m["clinic"]: v for m, v in ask('embryofl_updates_total{result="accepted"}')}
    assert found == dict(accepted)


def test_every_panel_has_data(federation: Containers, ask: Any) -> None:
    federation.finished()
    time.sleep(30)  # a few scrapes, for rates
    empty = []
    for path in sorted((ROOT / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                expr = target["expr"]
                for name, value in VARIABLES.items():
                    expr = expr.replace(name, value)
                assert "$" not in re.sub(r"\$\d", "", expr), expr
                if not ask(expr) and panel["title"] not in MAY_BE_EMPTY:
                    empty.append((path.stem, panel["title"], expr))
    assert not empty


def test_a_clinic_that_dies_is_told_of_within_two_minutes_and_no_other(federation: Containers, ask: Any) -> None:
    federation.finished()
    until("nothing is firing", lambda: not firing(ask), 60)
    run("docker", "kill", federation.container("clinic-2"))
    until("the alert fires", lambda: firing(ask), 120)
    assert firing(ask) == {("ClinicOffline", "clinic-2")}
    run("docker", "start", federation.container("clinic-2"))
    until("it is over", lambda: not firing(ask), 120)


def test_clinics_can_reach_neither_prometheus_nor_the_hub(federation: Containers, ask: Any) -> None:
    assert ask("vector(1)")
    code = """
import socket
for name, port in (("prometheus", 9090), ("server", 9100), ("superlink", 8000)):
    try:
        socket.create_connection((name, port), 5)
        print("reached", name)
    except OSError:
        pass
"""
    assert federation.python("clinic-1", code) == ""
    networks = json.loads(run("docker", "inspect", federation.container("prometheus")))[0]["NetworkSettings"][
        "Networks"
    ]
    assert set(networks) == {f"{PROJECT}_{n}" for n in ("hub", "clinics", "desk")}
