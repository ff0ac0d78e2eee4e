"""A run on real images, where they are: the model tells good embryos of test patients from others."""

from pathlib import Path

import pytest

from embryofl_server.runs.log import Runs
from embryofl_server.runs.view import RunView

IMAGES = Path(__file__).parents[3] / "shared" / "data" / "hungvuong"
CLINICS = ["clinic-1", "clinic-2", "clinic-3"]
LEAST_AUROC = 0.65


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(not IMAGES.is_dir(), reason="shared/data/hungvuong is missing")
def test_run_on_real_images_learns_to_tell_good_embryos_of_test_patients(demo):
    demo.start("--data", str(IMAGES), "--clinics", "3", "--set", "rounds=4")
    assert demo.process.wait(500) == 0, demo.text()
    run = Runs(demo.root / "hub" / "runs").latest()
    assert run.state["state"] == "finished" and run.state["round"] == 4
    lines = {x["clinic"]: x for x in RunView(run).lines() if x["split"] == "test" and x["day"] == 5}
    assert sorted(lines) == [*CLINICS, "pooled"]
    assert lines["pooled"]["auroc"] >= LEAST_AUROC, (lines["pooled"]["auroc"], lines["pooled"]["n"])
