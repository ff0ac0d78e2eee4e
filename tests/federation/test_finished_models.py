"""The model of a finished run comes to the clinics that took part, and they score with it."""

import json
import subprocess
import sys
from pathlib import Path

from federation_kit import until

COMMAND = str(Path(sys.executable).parent / "embryofl-clinic")


def test_a_clinic_gets_the_model_scores_with_it_and_knows_what_it_has_sent(federation):
    name = federation.start_run(rounds=4)  # the newest: a clinic is offered no older one
    assert federation.wait_over(name)["state"] == "finished"
    reference = federation.folder(name)
    state = federation.place.clinic("clinic-1")
    card = state / "models" / reference.name / "model.json"
    until("the model is at the clinic", card.exists, pause=0.5)
    said = json.loads(card.read_text())
    assert card.with_name("model.safetensors").read_bytes() == (reference / "model.safetensors").read_bytes()
    assert said["run"] == reference.name and "clinic-2" not in card.read_text() and "evaluation" not in said
    done = subprocess.run(
        [COMMAND, "score", str(federation.place.data("clinic-1")), "--state", str(state), "--run", reference.name,
         "--format", "json"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    scores = json.loads(done.stdout)
    assert len(scores["embryos"]) == 72 and scores["models"][0]["sha256"] == said["sha256"]
    assert all(e["of"] == 3 and 0 <= e["score"] <= 1 for e in scores["embryos"])
    sent = [json.loads(line) for line in (state / "sent.jsonl").read_text().splitlines()]
    updates = [s for s in sent if s["kind"] == "update" and s["run"] == reference.name]
    size = (reference / "model.safetensors").stat().st_size
    assert sent[0]["kind"] == "enrolment" and [s["round"] for s in updates] == [1, 2, 3, 4]
    assert {s["bytes"] for s in updates} == {size}
    answers = [s for s in sent if s["kind"] == "answer" and s["run"] == reference.name]
    assert "test" in answers[-1]["holds"] and len(answers) == 5
