"""Check the newest demo run on real images: pooled day-5 AUROC on test patients. usage: check_real.py BAR"""

import sys

from embryofl_demo.layout import current
from embryofl_server.runs.log import Runs
from embryofl_server.runs.view import RunView

bar = float(sys.argv[1])
run = Runs(current().hub / "runs").latest()
assert run is not None and run.state["state"] == "finished", run and run.state
lines = [x for x in RunView(run).lines() if x["split"] == "test" and x["day"] == 5]
pooled = next(x for x in lines if x["clinic"] == "pooled")
assert {x["clinic"] for x in lines} == {"clinic-1", "clinic-2", "clinic-3", "pooled"}, lines
assert run.state["round"] == run.settings.rounds, run.state
assert pooled["auroc"] >= bar, f"day-5 AUROC {pooled['auroc']:.3f} on {pooled['n']} test embryos, expected {bar}"
print(f"day-5 AUROC {pooled['auroc']:.3f} on {pooled['n']} test embryos (bar {bar})")
