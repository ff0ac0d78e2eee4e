"""A hub with a run in its store, without a SuperLink, and access to the metrics that it exports."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from embryofl.metrics import ScoreSums
from embryofl.settings import RunSettings
from embryofl.wire import Layout
from embryofl_server.federation.checkpoint import Checkpoints
from embryofl_server.federation.fleet import FleetLost
from embryofl_server.runs import metric_lines
from embryofl_server.runs.view import RunView
from kits.hubs import hub_at

ROOT = Path(__file__).parents[2]
SUMMARY = {
    "counts": {"3": {"0": 40, "1": 30, "unlabelled": "<5"}, "5": {"0": 50, "1": 60, "unlabelled": 7}},
    "patients": 31,
}
LAYOUT = Layout.of({"w": ("F32", (50,))})


def sums(seed: int, skill: float = 1.0) -> ScoreSums:
    """Scores of 120 embryos on two days; with `skill` 0 they are independent of the labels."""
    rng = np.random.default_rng(seed)
    labels, days = rng.integers(0, 2, 120), rng.choice([3, 5], 120)
    scores = 1 / (1 + np.exp(-(rng.normal(0, 1, 120) + skill * (labels - 0.5) * 2)))
    return ScoreSums.from_scores(scores, labels, days).suppress()


class FilledHub:
    """A hub with clinics and, after `run`, a run in its store; `online` are the connected clinics."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.folder = folder
        self.open()
        for name in names:
            secret = self.service.store.invite(name, 1.0)
            self.service.store.enrol(
                name, secret, f"ecdsa-sha2-nistp384 {base64.b64encode(name.encode()).decode()}", "quality", SUMMARY
            )
        self.names, self.online = names, set(names)

    def open(self) -> None:
        """Start or restart the hub with its exporter."""
        self.service = hub_at(self.folder)
        presence = self.service.presence
        presence.poll, presence.every_s = self.look, 0.0

    def look(self) -> dict[str, bool]:
        """The SuperLink's view of the clinics; the SuperLink is unreachable while `online` is None."""
        if self.online is None:
            raise FleetLost("away")
        return {name: name in self.online for name in self.names}

    def restart(self) -> None:
        """A new process on the same store."""
        self.service.store.close()
        self.open()

    def run(
        self, rounds: int, *, of: int = 10, refuse: dict[int, dict[str, str]] | None = None, skill=lambda r: 0.2 * r
    ):
        """A run with this many complete rounds; `refuse`: by round, clinics and reasons."""
        run = self.service.runs.create(RunSettings(rounds=of, min_clinics=2))
        checkpoints = Checkpoints(run.folder, self.folder / "weights" / run.name, 3)
        checkpoints.save(0, np.asarray(LAYOUT.empty()), {"clinics": {}, "refused": {}})
        run.set_state("running", 0)
        for number in range(1, rounds + 1):
            self.add_round(run, number, (refuse or {}).get(number, {}), skill(number - 1))
        return run

    def add_round(self, run, number: int, refused: dict[str, str] | None = None, skill: float = 1.0) -> None:
        """One more complete round, as the round loop writes it."""
        refused = refused or {}
        checkpoints = Checkpoints(run.folder, self.folder / "weights" / run.name, 3)
        clinics = {
            name: {
                "examples": 100,
                "train_loss": 0.6,
                "norm": 1.5,
                "distance": 0.7,
                "share": 0.25,
                "scale": 0.5,
                "device": "cuda:0",
                "memory_bytes": 5_000,
                "reconnects": 1,
                "validation": sums(i, skill).to_dict(),
                "seconds": {"download": 0.1, "evaluate": 0.2, "train": 4.0, "loading": 0.5, "upload": 0.3},
            }
            for i, name in enumerate(self.names)
            if name not in refused
        }
        for name, reason in refused.items():
            run.event("refused", round=number, clinic=name, reason=reason, words="")
        record = {"clinics": clinics, "refused": refused, "began": 0.0, "seconds": {"clinics": 5.0}}
        checkpoints.save(number, np.asarray(LAYOUT.empty()), record)
        run.set_state("running", number)
        run.event("round", round=number, accepted=sorted(clinics), refused=refused, seconds=5.5)
        run.rewrite_metrics([line for r in checkpoints.records() for line in metric_lines.record_lines(r)])

    def finish(self, run) -> None:
        """Add the final evaluation and finish the run."""
        evaluation = {
            n: {"validation": sums(i).to_dict(), "test": sums(i + 9).to_dict()} for i, n in enumerate(self.names)
        }
        record = {"round": run.state["round"], "evaluation": evaluation, "pooled": {}}
        (run.folder / "model.json").write_text(json.dumps(record))
        run.rewrite_metrics([*RunView(run).lines(), *metric_lines.final_lines(record)])
        run.event("finished", round=record["round"], sha256="")
        run.set_state("finished", record["round"])

    def samples(self) -> dict[str, float]:
        """All samples: `name{label="value",...}` to value."""
        return {
            s.name + "{" + ",".join(f'{k}="{v}"' for k, v in sorted(s.labels.items())) + "}": s.value
            for s in self.scrape()
        }

    def scrape(self) -> list[Sample]:
        """All samples of a scrape, after reading the files up to now."""
        self.service.exporter.refresh()
        families = text_string_to_metric_families(self.service.exporter.text().decode())
        return [sample for family in families for sample in family.samples]

    def value(self, name: str, **labels: str) -> float | None:
        """The value of one sample; None if there is none."""
        return next((s.value for s in self.scrape() if s.name == name and s.labels == labels), None)


@pytest.fixture
def make_hub(tmp_path):
    """Make a hub with these clinics."""
    made = []

    def make(*names: str) -> FilledHub:
        made.append(FilledHub(tmp_path / f"hub-{len(made)}", list(names)))
        return made[-1]

    yield make
    for hub in made:
        hub.service.store.close()


@pytest.fixture
def hub(make_hub):
    return make_hub("anna", "bert", "cleo")


@pytest.fixture
def root() -> Path:
    return ROOT
