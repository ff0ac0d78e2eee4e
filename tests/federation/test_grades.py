"""Gardner grades of two clinics are learned beside the label, and a third that has none takes part all the same."""

import json

import pytest

from kits.federation import SETTINGS, Federation, clean_environment, draw_clinic

NAMES = ["clinic-1", "clinic-2", "clinic-3"]
pytestmark = [pytest.mark.federation, pytest.mark.timeout(300)]


def test_clinic_without_grades_takes_part_in_a_run_that_learns_them(tmp_path):
    with clean_environment():
        federation = Federation(tmp_path / "demo")
        for name in NAMES:
            draw_clinic(federation.place.data(name), name, patients=40, graded=name != "clinic-3")
        try:
            federation.stack.start_hub()
            federation.join(NAMES)
            run = federation.start_run(**{**SETTINGS, "rounds": 3, "local_epochs": 2, "grades": 0.5})
            assert federation.wait_over(run)["state"] == "finished"
        finally:
            federation.stack.stop()
    folder = federation.folder(run)
    record = json.loads((folder / "round-0003.json").read_text())
    assert sorted(record["clinics"]) == NAMES  # all three trained
    told = json.loads((folder / "results.json").read_text())["grades"]["test"]
    assert set(told) == {"clinic-1", "clinic-2", "pooled"}  # the third has nothing to tell
    assert set(told["pooled"]) == {"expansion", "icm"}  # nobody graded the trophectoderm
    assert told["pooled"]["icm"]["embryos"] == sum(told[n]["icm"]["embryos"] for n in NAMES[:2])
    assert 0 <= told["pooled"]["expansion"]["exact"] <= 1 and told["pooled"]["expansion"]["distance"] < 3
