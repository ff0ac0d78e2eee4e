"""The final model of a run reaches the clinics that took part, and they score with it."""

import csv
import json
import subprocess
from types import SimpleNamespace

import pytest

from embryofl.pooled_metrics import SPLITS
from embryofl_clinic.policy.sent import FRAME
from embryofl_clinic.workload.own_results import OwnResultsFile
from kits.browser import CHROMIUM, COMMAND, assert_accessible, browser_page, enter, running_app
from kits.federation import until
from kits.policy import write_policy


@pytest.fixture(scope="module")
def finished(federation):
    """A finished run of four rounds whose model clinic-1 has downloaded as its newest."""
    run = federation.start_run(rounds=4)  # the hub offers only the newest model
    assert federation.wait_over(run)["state"] == "finished"
    state = federation.place.clinic("clinic-1")
    card = state / "models" / run / "model.json"
    until("the clinic has the model", card.exists, pause=0.5)
    return SimpleNamespace(
        run=run, hub=federation.folder(run), state=state, card=card, data=federation.place.data("clinic-1")
    )


def scored(finished, folder):
    """Output of `embryofl-clinic score` for a folder."""
    done = subprocess.run(
        [COMMAND, "score", str(folder), "--state", str(finished.state), "--run", finished.run, "--format", "json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(done.stdout)


def test_clinic_receives_the_final_model_and_scores_with_it(finished):
    card = json.loads(finished.card.read_text())
    assert (
        finished.card.with_name("model.safetensors").read_bytes() == (finished.hub / "model.safetensors").read_bytes()
    )
    assert card["run"] == finished.run and "clinic-2" not in finished.card.read_text() and "evaluation" not in card
    scores = scored(finished, finished.data)
    assert len(scores["embryos"]) == 72 and scores["models"][0]["sha256"] == card["sha256"]
    assert all(e["of"] == 3 and 0 <= e["score"] <= 1 for e in scores["embryos"])


def test_log_of_sent_data_matches_what_crossed_the_wire(federation, finished):
    sent = [json.loads(line) for line in (finished.state / "sent.jsonl").read_text().splitlines()]
    of_run = [s for s in sent if s["run"] == finished.run]
    size = (finished.hub / "model.safetensors").stat().st_size
    updates = [s for s in of_run if s["kind"] == "update"]
    assert [s["round"] for s in updates] == [1, 2, 3, 4] and {s["bytes"] for s in updates} == {size}
    replies = [s for s in of_run if s["kind"] == "answer"]
    assert "test" in replies[-1]["holds"] and len(replies) == 5
    recorded = federation.proxy.everything()
    for reply in replies:  # each is in the recorded traffic, with the size and the fields in the log
        kind = "evaluate" if "test" in reply["holds"] else "train"
        head = f'"kind":"{kind}","run":"{finished.run}","round":{reply["round"]},"layout":'.encode()
        begin = recorded.rindex(b"{", 0, recorded.index(head))
        text = recorded[begin : begin + reply["bytes"]]
        holds = {key for key, value in json.loads(text).items() if value not in (None, "", 0, {})}
        assert holds - set(FRAME) == set(reply["holds"])
    joined = sent[0]
    body = recorded[recorded.index(b'{"name":"clinic-1","secret"') :][: joined["bytes"]]
    assert joined["kind"] == "enrolment" and json.loads(body)["summary"]["counts"]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium package")
def test_cohort_is_scored_in_the_clinic_app(finished, tmp_path):
    with (finished.data / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[:6]
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    for row in rows:
        (cohort / f"E{row['embryo'][-3:]}.png").write_bytes((finished.data / row["image"]).read_bytes())
    expected = scored(finished, cohort)["embryos"]
    files = sorted(str(path) for path in cohort.iterdir())
    with running_app(finished.state, finished.data) as link, browser_page() as page:
        base = enter(page, link)
        home = page.inner_text("main")
        assert finished.run in home and "This is clinic-1" in home and "Connected to the hub" in home
        page.goto(f"{base}/score")
        page.get_by_label("Images of the cohort").set_input_files(files)
        page.get_by_label("Name of the cohort").fill("Cohort 7")
        page.get_by_label("Model").select_option(finished.run)
        page.get_by_role("button", name="Score").click()
        page.wait_for_url("**/scored/2*")
        # order, scores and their meaning equal those of the command line
        names = page.locator(".embryo h3 .name").all_inner_texts()
        assert names == [e["files"][0] for e in expected]
        for shown, e in zip(page.locator(".embryo").all(), expected, strict=True):
            words, seen = shown.inner_text(), e["seen"]
            meaning = "This model has no calibration"  # too few validation embryos here to learn one
            if seen is not None:
                meaning = f"Of 100 embryos scored like this, about {100 * seen['share']:.0f} were graded good."
            assert f"Rank {e['rank']} of 6" in words and f"{e['score']:.3f}" in words
            assert meaning in words
        assert page.evaluate("[...document.querySelectorAll('main img')].every((i) => i.naturalWidth > 0)")
        assert page.locator("main img").count() == 12 and "does not prove" in page.inner_text("main")
        assert_accessible(page)
        page.emulate_media(media="print")
        assert not page.locator("nav").is_visible() and not page.locator("#print").is_visible()
        assert page.locator(".embryo .print-only").first.is_visible()
        assert page.pdf(format="A4").startswith(b"%PDF")
        page.emulate_media(media="screen")
        page.goto(f"{base}/sent")
        assert f"{finished.run}, round 4" in page.inner_text("main") and "validation embryos" in page.inner_text("main")
        assert_accessible(page)
        assert page.wrong == [] and page.asked == {base.removeprefix("http://")}
    (record,) = [json.loads(path.read_text()) for path in (finished.state / "scored").glob("*.json")]
    assert record["cohort"] == "Cohort 7" and record["images"] == {} and len(record["digests"]) == 6
    assert record["scores"]["models"][0]["sha256"] == json.loads(finished.card.read_text())["sha256"]


def test_clinic_that_releases_no_metrics_sees_its_own_of_the_final_model(federation):
    state = federation.place.clinic("clinic-2")
    before = (state / "policy.toml").read_text()
    try:
        write_policy(state, metrics="none")
        run = federation.start_run(rounds=2)
        assert federation.wait_over(run)["state"] == "finished"
        own = OwnResultsFile(state)
        until("the clinic has evaluated it", lambda: own.read().splits["validation"].round == 2, pause=0.5)
    finally:
        (state / "policy.toml").write_text(before)
    assert {split: (r.run, r.round) for split, r in own.read().splits.items()} == dict.fromkeys(SPLITS, (run, 2))
    evaluation = json.loads((federation.folder(run) / "model.json").read_text())["evaluation"]
    assert not evaluation["clinic-2"]["validation"] and evaluation["clinic-1"]["validation"]
