"""The checks: one module for each kind of finding, all of one shape: `check(study)` yields findings. See `run.CHECKS`."""
