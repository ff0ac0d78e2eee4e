"""The hub's metrics: they agree with the run's files, survive a restart of the hub, and show its present state."""

import json
import socket
import time
from collections import Counter

import httpx
import pytest

from embryofl_server.api.status import roster, status
from embryofl_server.monitor.live_metrics import METRICS
from embryofl_server.runs.metric_labels import CLINIC_STATES, ROUND_PHASES, RUN_STATES
from embryofl_server.runs.view import RunView
from kits.hubs import hub_at
from kits.ports import free_port


def lines(run, name):
    return [json.loads(x) for x in (run.folder / name).read_text().splitlines()]


def test_counts_equal_those_in_the_runs_files(hub):
    first = hub.run(4, refuse={2: {"bert": "wrong_digest"}, 3: {"bert": "late", "cleo": "clinic_error"}})
    hub.finish(first)
    second = hub.run(2, refuse={2: {"anna": "wrong_digest"}})
    events = lines(first, "events.jsonl") + lines(second, "events.jsonl")
    accepted = Counter(c for e in events if e["kind"] == "round" for c in e["accepted"])
    for clinic in hub.names:
        assert hub.value("embryofl_updates_total", clinic=clinic, result="accepted") == accepted[clinic]
    assert hub.value("embryofl_rounds_total") == sum(e["kind"] == "round" for e in events) == 6
    assert hub.value("embryofl_round_duration_seconds_sum") == pytest.approx(6 * 5.5)
    assert hub.value("embryofl_updates_refused_total", clinic="bert", reason="wrong_digest") == 1
    assert hub.value("embryofl_updates_total", clinic="bert", result="refused") == 1
    assert hub.value("embryofl_updates_total", clinic="bert", result="late") == 1
    assert hub.value("embryofl_updates_total", clinic="cleo", result="failed") == 1
    assert hub.value("embryofl_updates_total", clinic="anna", result="late") == 0
    trained = [x for run in (first, second) for x in lines(run, "metrics.jsonl") if x["split"] == "train"]
    seconds = sum(x["seconds"]["train"] for x in trained if x["clinic"] == "anna")
    assert hub.value("embryofl_clinic_phase_seconds_total", clinic="anna", phase="train") == pytest.approx(seconds)


def test_drift_correction_counts_as_downloaded(hub):
    run = hub.run(2)
    before = hub.value("embryofl_clinic_transferred_bytes_total", clinic="anna", direction="down")
    size = json.loads((run.folder / "round-0002.json").read_text())["size"]
    assert before == 2 * size
    run.event("round", round=3, accepted=["anna"], refused={}, seconds=1.0, control_bytes={"anna": 700})
    assert hub.value("embryofl_clinic_transferred_bytes_total", clinic="anna", direction="down") == before + size + 700
    assert hub.value("embryofl_clinic_transferred_bytes_total", clinic="anna", direction="up") == 3 * size
    assert hub.value("embryofl_clinic_transferred_bytes_total", clinic="bert", direction="down") == before


def test_model_metrics_equal_the_newest_lines(hub):
    run = hub.run(4)
    newest = [x for x in RunView(run).lines() if x["split"] == "validation" and x["round"] == 3]
    for line in newest:
        labels = {
            "clinic": line["clinic"],
            "split": "validation",
            "day": "all" if line["day"] is None else str(line["day"]),
        }
        for metric in ("loss", "auroc", "auprc", "brier", "ece"):
            assert hub.value(f"embryofl_model_{metric}", **labels) == line[metric]
        sensitivity = hub.value("embryofl_model_sensitivity", **labels, threshold="0.5")
        assert sensitivity == pytest.approx(line["sensitivity"])
    assert hub.value("embryofl_model_round", split="validation") == 3


def test_best_auroc_stays_when_the_model_gets_worse(hub):
    run = hub.run(5, skill=lambda r: [0.2, 1.5, 0.8, 0.1, 0.0][r])
    pooled = {"clinic": "pooled", "split": "validation", "day": "all"}
    by_round = {x["round"]: x["auroc"] for x in RunView(run).lines() if x["clinic"] == "pooled" and x["day"] is None}
    assert hub.value("embryofl_model_auroc_best", **pooled) == by_round[1] == max(by_round.values())
    assert hub.value("embryofl_model_auroc_best_round", **pooled) == 1
    assert hub.value("embryofl_model_auroc", **pooled) == by_round[4] < by_round[1]


def test_hub_restart_resets_no_metric(hub):
    hub.service.audit.write("hub_started")
    run = hub.run(3, refuse={2: {"bert": "not_finite"}})
    before = hub.samples()
    hub.restart()
    hub.service.audit.write("hub_started")
    after = hub.samples()
    moving = (
        "process_",
        "embryofl_hub_start",
        "embryofl_hub_disk",
        "embryofl_run_progress",
        "embryofl_clinic_last_seen",
    )
    same = {k: v for k, v in before.items() if not k.startswith(moving)}
    assert {k: after[k] for k in same} == same
    assert hub.value("embryofl_hub_starts_total") == 2
    assert run.state["state"] == "running"


def test_later_rounds_are_added_to_those_already_read(hub):
    run = hub.run(2)
    hub.samples()
    hub.add_round(run, 3)
    grown = hub.samples()
    hub.restart()
    reread = hub.samples()
    assert grown["embryofl_rounds_total{}"] == 3
    for name in (k for k in grown if k.startswith(("embryofl_model", "embryofl_updates", "embryofl_clinic_phase"))):
        assert reread[name] == grown[name]


def test_resumed_run_counts_each_round_once(hub):
    run = hub.run(2)
    hub.finish(run)
    hub.samples()
    run.set_state("running", 2)
    run.event("resumed", round=2)
    run.rewrite_metrics([x for x in RunView(run).lines() if x["split"] != "test"][:-3])  # shorter than what was read
    hub.add_round(run, 3)
    assert hub.value("embryofl_clinic_images_total", clinic="anna") == 3 * 100 * run.settings.local_epochs
    assert hub.value("embryofl_run_resumptions_total") == 1


def test_clinic_states_while_a_round_is_under_way(hub):
    hub.run(1)
    hub.online = {"anna", "bert"}
    progress = hub.service.progress
    progress.phase("training", 2, 10)
    progress.begin(["anna", "bert", "cleo"], "training")
    progress.clinic("bert", "refused", "")
    state = {c: [s for s in CLINIC_STATES if hub.value("embryofl_clinic_state", clinic=c, state=s)] for c in hub.names}
    assert state == {"anna": ["training"], "bert": ["refused"], "cleo": ["offline"]}
    assert hub.value("embryofl_clinics_enrolled") == 3 and hub.value("embryofl_clinics_online") == 2


def test_status_and_console_show_the_states_that_the_metrics_show(hub):
    hub.run(1)
    progress = hub.service.progress
    progress.phase("training", 2, 10)
    progress.begin(hub.names, "training")
    progress.clinic("bert", "offline", "not connected; it is asked again when it comes back")
    hub.service.membership.suspend("cleo", "because", by="test")
    for online, expected in (
        ({"anna", "bert", "cleo"}, {"anna": "training", "bert": "online", "cleo": "suspended"}),
        ({"bert"}, {"anna": "offline", "bert": "online", "cleo": "suspended"}),
        (None, {"anna": "enrolled", "bert": "enrolled", "cleo": "suspended"}),  # the SuperLink is unreachable
    ):
        hub.online = online
        now = hub.service.overview.now()
        shown = {name: c["state"] for name, c in status(hub.service, now)["clinics"].items()}
        listed = {c["name"]: c["does"] for c in roster(hub.service, now)}
        exported = {
            s.labels["clinic"]: s.labels["state"] for s in hub.scrape() if s.name == "embryofl_clinic_state" and s.value
        }
        assert shown == listed == exported == expected


def test_suspended_clinic_is_counted_and_shown_as_suspended(hub):
    hub.run(1)
    hub.online = set(hub.names)
    hub.service.membership.suspend("bert", "because", by="test")
    assert hub.value("embryofl_clinic_state", clinic="bert", state="suspended") == 1
    assert hub.value("embryofl_clinic_state", clinic="anna", state="suspended") == 0
    assert hub.value("embryofl_clinics_enrolled") == 3


def test_run_under_way_is_the_one_shown(hub):
    first = hub.run(1)
    second = hub.run(0)
    second.set_state("queued", 0)
    assert hub.value("embryofl_run_rounds_done") == 1
    first.set_state("paused", 1)
    assert hub.value("embryofl_run_state", state="queued") == 1
    second.set_state("finished", 0)
    first.set_state("paused", 1)
    assert hub.value("embryofl_run_state", state="finished") == 1


def test_round_and_its_quorum(hub):
    run = hub.run(1)
    progress = hub.service.progress
    progress.phase("training", 2, 10)
    progress.begin(hub.names, "training")
    progress.clinic("anna", "done")
    progress.clinic("bert", "offline")
    progress.wait(["bert", "cleo"], time.time(), time.time() + 99, "")
    progress.terms(5000.0, 600.0, needed=2)
    assert hub.value("embryofl_round_quorum_wanted") == 2
    assert hub.value("embryofl_round_quorum_met") == 1 and hub.value("embryofl_round_quorum_possible") == 2
    assert hub.value("embryofl_round_waiting_for") == 2
    assert hub.value("embryofl_round_deadline_timestamp_seconds") == 5000.0
    assert hub.value("embryofl_run_deadline_seconds") == run.settings.round_deadline_s
    assert hub.value("embryofl_round") == 2 and hub.value("embryofl_run_rounds_done") == 1


def test_finished_run_waits_for_nobody(hub):
    run = hub.run(1)
    hub.service.progress.phase("training", 1, 10)
    hub.service.progress.wait(["anna"], time.time(), time.time() + 99, "")
    hub.finish(run)
    for name in ("deadline_timestamp_seconds", "wait_end_timestamp_seconds", "waiting_for", "quorum_wanted"):
        assert hub.value(f"embryofl_round_{name}") == 0


def test_enumerations_have_exactly_one_value_set(hub):
    hub.run(1)
    for name, label, values in (
        ("embryofl_run_state", "state", RUN_STATES),
        ("embryofl_round_phase", "phase", ROUND_PHASES),
    ):
        assert sum(hub.value(name, **{label: v}) for v in values) == 1


def test_hub_without_clinics_and_runs_exports_zeros(make_hub):
    empty = make_hub()
    assert empty.value("embryofl_clinics_enrolled") == 0 and empty.value("embryofl_rounds_total") == 0
    assert empty.value("embryofl_run_state", state="none") == 1


def test_awaited_clinics_are_marked(hub):
    run = hub.run(1)
    hub.service.progress.wait(["bert", "cleo"], time.time(), time.time() + 99, "")
    awaited = {c: hub.value("embryofl_clinic_awaited", clinic=c) for c in hub.names}
    assert awaited == {"anna": 0, "bert": 1, "cleo": 1}
    hub.finish(run)
    assert not any(hub.value("embryofl_clinic_awaited", clinic=c) for c in hub.names)


def test_last_seen_outlives_the_hub(hub):
    before = time.time()
    hub.samples()
    hub.online = {"anna"}
    hub.restart()
    assert hub.value("embryofl_clinic_last_seen_timestamp_seconds", clinic="cleo") == pytest.approx(before, abs=30)
    assert hub.value("embryofl_clinic_state", clinic="cleo", state="offline") == 1


def test_clinics_cannot_add_labels_through_their_data_counts(make_hub):
    hub = make_hub()
    summary = {
        "counts": {"Anna Schmidt": {"0": 5, "1": 6}, "5": {"0": 7, "image-17.png": 8, "1": "<5"}, "3": 4},
        "patients": "Anna Schmidt",
    }
    hub.names = ["anna"]
    hub.service.store.enrol("anna", hub.service.store.invite("anna", 1.0), "key", "quality", summary)
    text = "\n".join(hub.samples())
    assert "Schmidt" not in text and "image-17" not in text
    assert hub.value("embryofl_clinic_embryos", clinic="anna", day="5", label="0") == 7
    assert hub.value("embryofl_clinic_embryos", clinic="anna", day="5", label="1") is None


def test_labels_are_clinic_names_and_fixed_words(hub):
    hub.finish(hub.run(2, refuse={2: {"bert": "late"}}))
    labels = {label for _, *names in METRICS.values() for label in names}
    assert not labels & {"patient", "image", "file", "embryo", "path"}
    assert hub.value("embryofl_clinic_device_info", clinic="anna", device="cuda") == 1


def test_damaged_line_does_not_stop_the_metrics(hub):
    run = hub.run(2)
    with (run.folder / "events.jsonl").open("a") as file:
        file.write('{"kind": "round"}\n{"time": 1, "kind": "refused"}\nnot json\n[1]\n')
    hub.add_round(run, 3)
    assert hub.value("embryofl_rounds_total") == 3
    assert hub.value("embryofl_clinic_patients", clinic="anna") == 31


def test_exporter_listens_on_the_set_port_and_only_if_one_is_set(tmp_path):
    port = free_port()
    hub = hub_at(tmp_path / "hub", metrics_port=port)
    exporter = hub.exporter
    exporter.start()
    password = tmp_path / "hub" / "identity" / "metrics.password"
    assert password.stat().st_mode & 0o777 == 0o600
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", auth=("embryofl", password.read_text())).text
    assert "embryofl_hub_info" in text
    exporter.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics")
    silent = hub_at(tmp_path / "other").exporter
    silent.start()
    silent.close()


def test_exporter_shows_nothing_without_the_password(tmp_path):
    """As any user of the hub's machine can ask; `make up` gives hub and Prometheus one password."""
    (tmp_path / "password").write_text("given-by-make-up\n")
    port = free_port()
    given = {"metrics_port": port, "metrics_password_file": tmp_path / "password"}
    exporter = hub_at(tmp_path / "hub", **given).exporter
    exporter.start()
    try:
        url = f"http://127.0.0.1:{port}/metrics"
        for login in (None, ("embryofl", ""), ("embryofl", "wrong"), ("other", "given-by-make-up")):
            refused = httpx.get(url, auth=login)
            assert (refused.status_code, refused.content) == (401, b"")
        assert httpx.get(url, auth=("embryofl", "given-by-make-up")).status_code == 200
    finally:
        exporter.close()


def test_metrics_are_not_served_where_their_password_cannot_be_read(tmp_path, caplog):
    port = free_port()
    given = {"metrics_port": port, "metrics_password_file": tmp_path / "missing"}
    hub_at(tmp_path / "hub", **given).exporter.start()
    assert "missing cannot be read" in caplog.text
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics")


@pytest.mark.parametrize("host", ["metrics.example", "127.0.0.1.example", "server.example", "[", ""])
def test_exporter_answers_no_page_whose_host_was_renamed(tmp_path, host):
    """As a web page in a browser of the hub's machine asks, once its name leads there (DNS rebinding)."""
    hub = hub_at(tmp_path / "hub")

    def asked(host: str) -> str:
        answers: list[str] = []
        list(
            hub.exporter._respond(
                {"PATH_INFO": "/metrics", "HTTP_HOST": host}, lambda status, _: answers.append(status)
            )
        )
        return answers[0][:3]

    assert asked(f"{host}:9100") == "403"
    assert {asked(f"{ours}:9100") for ours in ("127.0.0.1", "localhost", "server", "[::1]")} == {"200"}


def test_port_in_use_is_logged_and_does_not_stop_the_hub(tmp_path, caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        hub = hub_at(tmp_path / "hub", metrics_port=port)
        hub.exporter.start()
        hub.exporter.close()
    assert f"127.0.0.1:{port}" in caplog.text and "EMBRYOFL_METRICS_PORT" in caplog.text
