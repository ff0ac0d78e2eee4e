"""One attacker among five clinics: the run finishes with as good a model and bounded memory; rejections are reported."""

import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from embryofl.metrics import ScoreSums, merge
from kits.federation import Federation, draw_clinic, until

pytestmark = pytest.mark.slow

HONEST = [f"clinic-{i}" for i in range(1, 5)]
EVIL = "evil"
REASONS = {
    "nan": "not_finite",
    "scale": "norm",
    "count": "examples",
    "claim": "metrics",
    "garbage": "malformed",
    "big": "malformed",
    "huge": "no_upload",
}
SETTINGS = {
    "strategy": "trimmed_mean",
    "min_clinics": 4,
    "rounds": len(REASONS) + 1,
    "round_deadline_s": 60,
    "seed": 3,
    "local_epochs": 1,
    "image_size": 32,
    "suspend_after": 0,
}
EXTRA_MEMORY = 150 << 20  # bytes that an attack may cost each part of the hub


class Attacked(Federation):
    """A federation of four honest clinics and an attacker."""

    def attack(self, how: str) -> None:
        (self.place.clinic(EVIL) / "attack").write_text(how)

    def control(self, what: str, name: str) -> None:
        self.stack.call("POST", f"/control/{what}", {"name": name})

    def state_of(self, name: str) -> str:
        return self.status()["clinics"][name]["state"]

    def peak_memory(self) -> dict[str, int]:
        """Peak resident memory of each part of the hub so far, bytes."""
        peaks = {}
        for part in ("server", "superlink", "gateway"):
            lines = Path(f"/proc/{self.pid(part)}/status").read_text().splitlines()
            peaks[part] = next(int(x.split()[1]) << 10 for x in lines if x.startswith("VmHWM"))
        return peaks

    def auroc(self, folder: Path) -> float:
        """AUROC of the final model on the honest clinics' validation and test patients."""
        evaluation = json.loads((folder / "model.json").read_text())["evaluation"]
        sums = [ScoreSums.from_dict(evaluation[n][split]) for n in HONEST for split in ("validation", "test")]
        auroc = merge(sums).summary().auroc
        assert auroc is not None
        return auroc


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    federation = Attacked(tmp_path_factory.mktemp("attacked") / "place")
    for name in [*HONEST, EVIL]:
        draw_clinic(federation.place.data(name), f"{name}-A", patients=56, disc=6)
    federation.place.clinic(EVIL).mkdir(parents=True)
    federation.attack("honest")
    with federation.with_attacker(HONEST, EVIL):
        yield federation


@pytest.fixture(scope="module")
def undisturbed(attacked: Attacked) -> tuple[Path, dict[str, int]]:
    """The folder of a run without the attacker, and the peak memory of the hub's parts after it."""
    attacked.control("suspend", EVIL)
    folder = attacked.run(**SETTINGS)
    assert set(json.loads((folder / "model.json").read_text())["evaluation"]) == set(HONEST)
    memory = attacked.peak_memory()
    attacked.control("resume", EVIL)
    assert 0.7 < attacked.auroc(folder) < 0.99, "the task can be learned, and a model can become worse"
    return folder, memory


@pytest.fixture(autouse=True)
def _attacker_is_reinstated(attacked: Attacked) -> Iterator[None]:
    yield
    attacked.stop_run()
    if attacked.state_of(EVIL) == "suspended":
        attacked.control("resume", EVIL)


def test_every_detectable_attack_is_rejected_and_reported_and_leaves_the_model_unchanged(attacked, undisturbed):
    """Each round has a different attack."""
    folder, memory = undisturbed
    attacked.attack(" ".join([*REASONS, "nan"]))
    name = attacked.start_run(**SETTINGS)
    run = attacked.wait_over(name)
    assert run["state"] == "finished", (run["reason"], attacked.logs())
    # each rejection has its reason and message, and no other clinic had any
    refused = attacked.events(name, "refused")
    expected = [*enumerate(REASONS.values(), 1), (len(REASONS) + 1, "not_finite")]
    assert [(e["clinic"], e["round"], e["reason"]) for e in refused] == [(EVIL, *x) for x in expected]
    assert all(len(e["words"]) > 10 and e["words"].isprintable() for e in refused)
    assert [r["refused"] for r in attacked.records(name)] == [{}, *({EVIL: reason} for _, reason in expected)]
    audited = [e["reason"] for e in attacked.audit("update_refused") if e["run"] == name]
    assert audited == [reason for _, reason in expected]
    until(
        "the metrics report it",
        lambda: (
            {
                x.split('reason="')[1].split('"')[0]
                for x in attacked.metrics().splitlines()
                if x.startswith("embryofl_updates_refused_total") and EVIL in x
            }
            >= set(REASONS.values())
        ),
    )
    # the model is not just as good, it is identical
    assert (attacked.folder(name) / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert abs(attacked.auroc(attacked.folder(name)) - attacked.auroc(folder)) <= 0.02
    for part, peak in attacked.peak_memory().items():
        assert peak < memory[part] + EXTRA_MEMORY, (part, peak, memory)
    assert list((attacked.place.hub / "uploads").iterdir()) == []
    assert psutil.pid_exists(attacked.pid(EVIL))  # its replies were rejected; it did not crash


def test_clinic_is_suspended_and_notified_after_three_rejections(attacked, undisturbed):
    attacked.attack("scale")
    folder = attacked.run(**{**SETTINGS, "rounds": 4, "suspend_after": 3})
    assert [r["refused"] for r in attacked.records(folder.name)] == [{}] + [{EVIL: "norm"}] * 3 + [{}]
    clinic = attacked.status()["clinics"][EVIL]
    assert clinic["state"] == "suspended" and "3 replies in a row" in clinic["detail"]
    assert all(attacked.state_of(n) != "suspended" for n in HONEST)
    assert (attacked.audit("suspended")[-1]["clinic"], attacked.audit("suspended")[-1]["by"]) == (EVIL, "the gate")
    until(
        "its own log says why",
        lambda: f"round 3 of {folder.name} (norm)" in attacked.log(EVIL) and "is suspended" in attacked.log(EVIL),
    )


def test_flipped_labels_do_not_harm_a_robust_strategy(attacked, undisturbed):
    attacked.attack("flip")
    folder = attacked.run(**SETTINGS)
    assert all(EVIL in r["clinics"] for r in attacked.records(folder.name)[1:])  # the gate cannot detect it
    assert abs(attacked.auroc(folder) - attacked.auroc(undisturbed[0])) <= 0.02
