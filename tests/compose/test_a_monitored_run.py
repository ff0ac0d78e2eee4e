"""Prometheus of `make up`: it agrees with the run's files, fills every panel, reports a lost clinic and a restarted hub, and
no clinic can deceive it. These tests come first in the federation's life."""

import base64
import itertools
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kits.containers import PROJECT, ROOT, Containers, run, until
from kits.forwarder import logged_in

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1500)]
TOOL = ROOT.parent / "shared" / "grafana-check"
DRAW = os.environ.get("EMBRYOFL_PICTURES")  # a folder for screenshots of the dashboards
ELSEWHERE = {
    "AurocFallen",
    "DiskNearlyFull",
}  # alerts of a model trained on few images, and of the testing machine's disk
SLOW = (
    "--set",
    "model=small_cnn",
    "--set",
    "local_epochs=2",
)  # a round takes seconds, so that there is time to disturb it
Values = dict[tuple[str, ...], float]


def values_by(federation: Containers, expr: str, *labels: str) -> Values:
    """The result of a query, by the values of these labels."""
    return {tuple(m.get(label, "") for label in labels): v for m, v in federation.query(expr)}


def firing(federation: Containers) -> set[tuple[str, ...]]:
    """Alerts that are firing: name and clinic."""
    alerts = values_by(federation, 'ALERTS{alertstate="firing"}', "alertname", "clinic")
    return {key for key in alerts if key[0] not in ELSEWHERE}


def lines(federation: Containers, name: str) -> list[dict[str, Any]]:
    """JSON lines from this file of every run."""
    text = federation.inside("server", "sh", "-c", f"cat /hub/runs/run-*/{name}")
    return [json.loads(line) for line in text.splitlines()]


def test_prometheus_finds_the_hub_and_every_clinic(federation: Containers) -> None:
    expected = {("hub",): 1.0, ("clinics",): 3.0}
    until("all are scraped", lambda: values_by(federation, "sum by (job) (up)", "job") == expected)


def test_counts_and_metrics_agree_with_the_runs_own_lines(federation: Containers) -> None:
    info = federation.finished()
    accepted: Counter[str] = Counter()
    rounds = 0
    for event in lines(federation, "events.jsonl"):
        if event["kind"] == "round":
            rounds += 1
            accepted.update(event["accepted"])
    assert rounds == info["round"] == 3
    until(
        "the end of the run is scraped",
        lambda: ("finished",) in values_by(federation, "embryofl_runs_total == 1", "state"),  # it comes with the lines
        60,
    )
    assert values_by(federation, "embryofl_rounds_total") == {(): rounds}
    assert values_by(federation, 'embryofl_updates_total{result="accepted"}', "clinic") == {
        (c,): n for c, n in accepted.items()
    }
    assert sum(values_by(federation, 'embryofl_updates_total{result!="accepted"}', "clinic", "result").values()) == 0
    last = [x for x in lines(federation, "metrics.jsonl") if x["round"] == rounds]
    trained = {(x["clinic"],): x for x in last if x["split"] == "train"}
    assert values_by(federation, "embryofl_clinic_train_loss", "clinic") == {k: x["loss"] for k, x in trained.items()}
    assert values_by(federation, "embryofl_clinic_examples", "clinic") == {k: x["n"] for k, x in trained.items()}
    for metric in ("loss", "auroc", "auprc", "brier", "ece"):
        expected = {
            (x["clinic"], x["split"], "all" if x["day"] is None else str(x["day"])): x[metric]
            for x in last
            if x["split"] != "train" and x[metric] is not None
        }
        assert values_by(federation, f"embryofl_model_{metric}", "clinic", "split", "day") == expected


@pytest.mark.skipif(not TOOL.is_dir(), reason="shared/grafana-check is missing")
def test_every_panel_has_data(federation: Containers) -> None:
    federation.finished()
    ended = 'sum_over_time(embryofl_run_state{state="finished"}[1m])'
    until(
        "a few scrapes have followed the end, for rates",
        lambda: sum(value for _, value in federation.query(ended)) >= 3,
    )
    with logged_in(federation.prometheus_request) as address:
        done = subprocess.run(
            [
                sys.executable,
                str(ROOT / "scripts" / "draw_dashboards.py"),
                "--grafana-check",
                str(TOOL),
                "--url",
                address,
                *(["--out", DRAW] if DRAW else []),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr


def test_annotations_on_the_curves_have_times(federation: Containers) -> None:
    page = json.loads((ROOT / "grafana" / "dashboards" / "federation.json").read_text())
    marks = {a["name"]: a["target"]["expr"] for a in page["annotations"]["list"]}
    began = time.time() - 3600
    for name in ("Runs", "Restarts"):
        annotations = federation.query(marks[name])
        assert annotations and all(began < milliseconds / 1000 < time.time() for _, milliseconds in annotations), name
    assert federation.query(marks["Rejected replies"]) == []


def test_clinic_killed_during_a_run_raises_its_alerts_and_no_others(federation: Containers) -> None:
    """All three clinics are needed: without one it is missing, and so is the quorum."""
    federation.finished()
    until("nothing is firing", lambda: not firing(federation), 300)
    federation.hub("start", *SLOW, "--set", "rounds=2", "--set", "min_clinics=3")
    run("docker", "kill", federation.container("clinic-2"))
    expected = {("ClinicOffline", "clinic-2"), ("QuorumNotMet", "")}
    until("the alerts fire", lambda: firing(federation) == expected, 300)
    end = time.monotonic() + 12
    while time.monotonic() < end:  # no other alert may join them
        assert firing(federation) == expected
        time.sleep(2)
    run("docker", "start", federation.container("clinic-2"))
    until("they are over", lambda: not firing(federation), 300)
    federation.finished()


def test_hub_restart_resets_no_counter_and_no_curve(federation: Containers) -> None:
    federation.hub("start", *SLOW, "--set", "rounds=60")  # enough to be still under way when the alert is due
    until("a round is complete", lambda: federation.status()["run"]["round"] >= 1)
    counters = '{__name__=~"embryofl_.*_(total|bucket|count|sum)", __name__!="embryofl_hub_starts_total", job="hub"}'
    labels = ("__name__", "clinic", "state", "result", "phase", "direction", "reason", "le")
    of_this_run = "embryofl_run_rounds_done >= 1 and embryofl_run_rounds == 60"
    until("it is scraped", lambda: values_by(federation, of_this_run), 60)
    before, auroc = values_by(federation, counters, *labels), federation.query("embryofl_model_auroc")
    run("docker", "kill", "--signal", "KILL", federation.container("server"))
    run("docker", "start", federation.container("server"))
    until("the alert fires", lambda: ("HubRestartedDuringRun", "") in firing(federation), 90)
    assert firing(federation) == {("HubRestartedDuringRun", "")}
    federation.hub("stop")
    until("it has stopped", lambda: federation.status()["run"]["state"] == "stopped", 60)
    after = until("it is scraped", lambda: values_by(federation, counters, *labels), 60)
    assert len(before) > 40 and all(after[key] >= value for key, value in before.items())
    for series, values in federation.history(counters, "20m"):
        assert values == sorted(values), series
    curves = {tuple(sorted(m.items())) for m, _ in federation.query("embryofl_model_auroc")}
    assert curves >= {tuple(sorted(m.items())) for m, _ in auroc}
    until("it is over", lambda: not firing(federation), 60)


def test_clinic_can_neither_fake_hub_metrics_nor_flood_prometheus(federation: Containers) -> None:
    liar = """
import http.server
class Liar(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(b'embryofl_clinic_state{clinic="clinic-1",state="offline"} 1\\nembryofl_hub_superlink_up 0\\n'
            b'embryofl_trainer_connected{clinic="liar"} 1\\n' + FLOOD)
http.server.ThreadingHTTPServer(("0.0.0.0", 9101), Liar).serve_forever()
"""
    name = f"{PROJECT}-liar"
    start = (
        "docker",
        "run",
        "-d",
        "--init",
        "--name",
        name,
        "--network",
        f"{PROJECT}_clinics",
        "--network-alias",
        "trainers",
        "--entrypoint",
        "python",
        "embryofl-clinic",
        "-c",
    )
    try:
        run(*start, liar.replace("FLOOD", 'b""'))
        until("it is scraped", lambda: federation.query('embryofl_trainer_connected{clinic="liar"}'), 60)
        assert not federation.query('{job="clinics", __name__=~"embryofl_clinic_.*|embryofl_hub_.*"}')
        run("docker", "rm", "-f", name)
        flood = 'b"".join(b"embryofl_trainer_batch{clinic=\\"%d\\"} 1\\n" % i for i in range(9999))'
        run(*start, liar.replace("FLOOD", flood))
        until(
            "Prometheus rejects the flood",
            lambda: values_by(federation, 'count(up{job="clinics"} == 0)') == {(): 1.0},
            60,
        )
        assert values_by(federation, "count(embryofl_trainer_batch)") == {(): 3.0}
    finally:
        run("docker", "rm", "-f", name)


def test_prometheus_allows_no_requests_from_pages_of_other_origins(federation: Containers) -> None:
    request = federation.prometheus_request("/api/v1/query?query=up", Origin="https://example.org")
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.headers["Access-Control-Allow-Origin"] is None


def test_no_user_of_this_machine_reads_metrics_without_the_login(federation: Containers) -> None:
    for path in ("/api/v1/query?query=up", "/metrics", "/federate", "/"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(federation.prometheus + path, timeout=10)
        assert refused.value.code == 401


def test_prometheus_holds_no_data_of_a_clinic_or_the_hub(federation: Containers) -> None:
    container = federation.containers()["prometheus"]
    assert {m["Destination"]: (m.get("Name") or Path(m["Source"]).name, m["RW"]) for m in container["Mounts"]} == {
        "/etc/prometheus": ("prometheus", False),
        "/run/secrets/prometheus-web": ("prometheus-web.yml", False),
        "/run/secrets/prometheus-password": ("prometheus-password", False),
        "/prometheus": (f"{PROJECT}_prometheus", True),
    }
    assert set(container["NetworkSettings"]["Networks"]) == {f"{PROJECT}_{n}" for n in ("hub", "clinics", "desk")}


def test_grafana_password_is_in_a_file_that_others_cannot_reach_and_printed_nowhere(federation: Containers) -> None:
    assert len(federation.grafana_password) >= 24
    assert federation.grafana_password not in federation.first_words
    folder = Path(federation.environment["EMBRYOFL_COMPOSE_DIR"])
    assert folder.stat().st_mode & 0o077 == 0


def test_grafana_container_reaches_only_its_password_and_prometheus(federation: Containers) -> None:
    if federation.containers()["grafana"]["Config"]["Image"].startswith("grafana/"):
        pytest.skip("this is Grafana's own image, which has no Python")
    addresses = [
        network["IPAddress"]
        for name in ("server", "superlink", "gateway", "clinic-1")
        for network in federation.containers()[name]["NetworkSettings"]["Networks"].values()
    ]
    code = """
import base64, os, urllib.request
print(open("/run/secrets/grafana-admin").read().strip())
print(sorted(os.listdir("/etc/grafana/provisioning")), len(os.listdir("/dashboards")))
password = open(os.environ["EMBRYOFL_PROMETHEUS_PASSWORD_FILE"]).read().strip()
login = "Basic " + base64.b64encode(("embryofl:" + password).encode()).decode()
request = urllib.request.Request(os.environ["EMBRYOFL_PROMETHEUS_URL"] + "/-/ready", headers={"Authorization": login})
print(urllib.request.urlopen(request, timeout=5).status)
"""
    expected = f"{federation.grafana_password}\n['dashboards', 'datasources'] 4\n200\n"
    assert federation.python("grafana", code) == expected
    assert federation.reached("grafana", list(itertools.product(addresses, (8000, 8443, 9000, 9100, 9101)))) == []


def test_grafana_requires_its_password_and_shows_the_dashboards(federation: Containers) -> None:
    if not federation.containers()["grafana"]["Config"]["Image"].startswith("grafana/"):
        pytest.skip("Grafana's image is not available here: another stands in for it")
    password = federation.grafana_password

    def get(path: str, *login: str) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{federation.grafana_port}{path}")
        if login:
            request.add_header("Authorization", "Basic " + base64.b64encode(":".join(login).encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code

    assert get("/api/search") == get("/api/search", "admin", "admin") == 401
    dashboards = {page["uid"] for page in get("/api/search?type=dash-db", "admin", password)}
    assert dashboards == {f"embryofl-{n}" for n in ("federation", "clinic", "quality", "operations")}
    assert get("/api/datasources/uid/embryofl-prometheus", "admin", password)["readOnly"]
    assert get("/api/datasources/uid/embryofl-prometheus/health", "admin", password)["status"] == "OK"
