"""The page Runs: its form, the estimate, the comparison."""

import pytest

from embryofl_console.pages import runs
from embryofl_console.texts import texts
from kits.console_pages import EMPTY, show_compared, show_runs

COST = {
    **{"clinics": 3, "rounds": 10, "model_bytes": 2e6, "clinic_bytes": 42e6, "total_bytes": 126e6},
    **{"updates": "", "metrics_seen": "", "from": "nothing", "round_s": None, "total_s": None},
}


def show_cost(**changes):
    return show_runs(EMPTY, cost={**COST, **changes})


def test_estimate_names_its_source():
    measured = {"from": "run", "run": "run-0004", "run_rounds": 5, "scaled": True}
    page = show_cost(round_s=6.0, total_s=60.0, **measured)
    assert "about 60 s" in page and "run-0004" in page and "126 MB" in page and texts.cost.scaled in page
    rough = show_cost(round_s=6.0, total_s=60.0, **{"from": "images", "images": 400, "image_s": 0.024})
    assert "rough estimate" in rough and "400" in rough and "24 ms" in rough
    unknown = show_cost()
    assert texts.cost.time_unknown in unknown and texts.cost.unknown in unknown


def test_one_clinic_and_one_round_are_singular():
    one, many = show_cost(clinics=1, rounds=1), show_cost()
    assert "42 MB for the one clinic," in one and "down and up, in one round." in one
    assert "42 MB for each of 3 clinics," in many and "down and up, in 10 rounds." in many


def test_compared_runs_show_differences_and_missing_results():
    settings = {"rounds": 3, "model": "lite0", "strategy": "fedavg"}
    metrics = {"auroc": {"value": 0.8, "interval": [0.7, 0.9]}, "auprc": None, "brier": None, "ece": None}
    one = {"name": "run-0001", "state": "finished", "round": 3, "settings": settings}
    one |= {"curve": [[0, 0.5, 0.7, 0.0], [1, 0.6, 0.6, 0.1]], "final": {"test": {"pooled": metrics}}}
    two = one | {"name": "run-0002", "state": "running", "settings": settings | {"strategy": "scaffold"}, "final": None}
    page = show_compared(one, two)
    assert "scaffold" in page and "0.800" in page and ">lite0<" not in page and page.count("<figure") == 2
    assert page.count("<polygon") == 2  # of AUROC
    assert texts.compare.no_finals in show_compared(two, two | {"curve": []})
    assert texts.compare.same in show_compared(one, one)


def test_runs_are_compared_clinic_by_clinic():
    def final(**aurocs):
        return {name: {"auroc": value and {"value": value, "interval": None}} for name, value in aurocs.items()}

    first = final(pooled=0.8, oslo=0.7, porto=0.8, lyon=0.75, new=None)
    other = final(pooled=0.9, oslo=0.72, porto=0.84, lyon=0.78, new=0.9)
    difference = runs.paired(first, other)
    half = 4.303 * 0.01 / 3**0.5  # of 0.02, 0.03 and 0.04
    assert difference["clinics"] == 3 and difference["value"] == pytest.approx(0.03)
    assert difference["interval"] == pytest.approx([0.03 - half, 0.03 + half], abs=1e-4)
    assert runs.paired(first, final(oslo=0.7)) is None


def test_chosen_model_brings_its_local_epochs():
    offered = {"models": [{"name": "lite0", "recipe": {"local_epochs": 3}}], "strategies": [], "defaults": {}}
    chosen = {"model": "lite0", "model_before": "small_cnn", "local_epochs": "1"}
    assert runs.fitted(offered, chosen) == {"model": "lite0", "model_before": "lite0", "local_epochs": "3"}
    assert runs.fitted(offered, chosen | {"model_before": "lite0"})["local_epochs"] == "1"
