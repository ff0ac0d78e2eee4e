"""One attacker among five clinics: the run ends, the model stays as good, memory stays bounded, each refusal shows."""

import json
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from federation_kit import Federation, draw_clinic, until

from embryofl.metrics import ScoreSums, merge

HONEST = [f"clinic-{i}" for i in range(1, 5)]
EVIL = "evil"
HERE = Path(__file__).parent
SETTINGS = {"strategy": "trimmed_mean", "min_clinics": 4, "rounds": 5, "round_deadline_s": 60, "seed": 3,
            "norm_clip": 5, "local_epochs": 2}  # fmt: skip
MEMORY_MORE = 150 << 20  # bytes that a part of the hub may need more because of an attack


class Attacked(Federation):
    """Four clinics and an attacker."""

    def attack(self, how: str) -> None:
        (self.place.clinic(EVIL) / "attack").write_text(how)

    def control(self, what: str, name: str) -> None:
        self.stack.call("POST", f"/control/{what}", {"name": name})

    def state_of(self, name: str) -> str:
        return self.status()["clinics"][name]["state"]

    def peak_memory(self) -> dict[str, int]:
        """The highest resident memory of each part of the hub so far, bytes."""
        found = {}
        for part in ("server", "superlink", "gateway"):
            lines = Path(f"/proc/{self.pid(part)}/status").read_text().splitlines()
            found[part] = next(int(x.split()[1]) << 10 for x in lines if x.startswith("VmHWM"))
        return found

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.stack.ports['metrics']}/metrics") as answer:
            return answer.read().decode()

    def auroc(self, folder: Path) -> float:
        """Of the final model on the honest clinics' validation and test patients."""
        evaluation = json.loads((folder / "model.json").read_text())["evaluation"]
        sums = [ScoreSums.from_dict(evaluation[n][split]) for n in HONEST for split in ("validation", "test")]
        auroc = merge(sums).summary().auroc
        assert auroc is not None
        return auroc


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    found = Attacked(tmp_path_factory.mktemp("attacked") / "place")
    for name in [*HONEST, EVIL]:
        draw_clinic(found.place.data(name), f"{name}-A", patients=36, contrast=14)
    found.place.clinic(EVIL).mkdir(parents=True)
    found.attack("honest")
    try:
        found.stack.start_hub()
        for name in HONEST:
            found.stack.start_clinic(name)
        found.stack.start_clinic(EVIL, [sys.executable, str(HERE / "attacking_clinic.py")])
        found.stack.wait_enrolled([*HONEST, EVIL], 180)
        yield found
    finally:
        found.stack.stop()


@pytest.fixture(scope="module")
def alone(attacked: Attacked) -> tuple[float, dict[str, int]]:
    """AUROC of the run without the attacker, and the memory it took."""
    attacked.control("suspend", EVIL)
    folder = attacked.run(**SETTINGS)
    assert set(json.loads((folder / "model.json").read_text())["evaluation"]) == set(HONEST)
    memory = attacked.peak_memory()
    attacked.control("resume", EVIL)
    return attacked.auroc(folder), memory


@pytest.fixture(autouse=True)
def _nobody_is_left_suspended(attacked: Attacked) -> Iterator[None]:
    yield
    attacked.stop_run()
    if attacked.state_of(EVIL) == "suspended":
        attacked.control("resume", EVIL)


REASONS = {"nan": "not_finite", "scale": "norm", "count": "examples", "claim": "metrics", "garbage": "malformed",
           "big": "malformed", "huge": "no_upload"}  # fmt: skip


@pytest.mark.parametrize("how", REASONS)
def test_an_attack_at_the_gate_is_refused_seen_and_ended(attacked, alone, how):
    auroc, memory = alone
    attacked.attack(how)
    name = attacked.start_run(**SETTINGS)
    run = attacked.wait_over(name)
    assert run["state"] == "finished", (run["reason"], attacked.logs())
    assert abs(attacked.auroc(attacked.folder(name)) - auroc) <= 0.02
    reason = REASONS[how]
    # three refusals, each with its reason and words, then the suspension; nobody else had any
    refused = attacked.events(name, "refused")
    assert [(e["clinic"], e["round"], e["reason"]) for e in refused] == [(EVIL, r, reason) for r in (1, 2, 3)]
    assert all(len(e["words"]) > 10 and e["words"].isprintable() for e in refused)
    assert [r["refused"] for r in attacked.records(name)] == [{}] + [{EVIL: reason}] * 3 + [{}] * 2
    clinic = attacked.status()["clinics"][EVIL]
    assert clinic["state"] == "suspended" and "3 answers in a row" in clinic["detail"]
    assert all(attacked.state_of(n) != "suspended" for n in HONEST)
    assert {"run": name, "reason": reason}.items() <= attacked.audit("update_refused")[-1].items()
    assert attacked.audit("suspended")[-1]["clinic"] == EVIL and attacked.audit("suspended")[-1]["by"] == "the gate"
    lines = until("the metrics say so", lambda: [
        x for x in attacked.metrics().splitlines()
        if x.startswith("embryofl_updates_refused_total") and EVIL in x and f'"{reason}"' in x
    ])  # fmt: skip
    assert len(lines) == 1 and float(lines[0].split()[-1]) >= 3
    # the clinic itself was told
    until(
        "its log says why",
        lambda: f"round 3 of {name}" in attacked.log(EVIL) and "this clinic is suspended" in attacked.log(EVIL),
    )
    for part, peak in attacked.peak_memory().items():
        assert peak < memory[part] + MEMORY_MORE, (part, peak, memory)


def test_turned_round_labels_do_not_move_a_robust_strategy(attacked, alone):
    attacked.attack("flip")
    folder = attacked.run(**SETTINGS)
    assert EVIL in attacked.records(folder.name)[-1]["clinics"]  # no gate can see it
    assert abs(attacked.auroc(folder) - alone[0]) <= 0.02


def test_uploads_leave_nothing_behind(attacked, alone):
    assert list((attacked.place.hub / "uploads").iterdir()) == []
    assert psutil.pid_exists(attacked.pid(EVIL))  # it was refused, not crashed
