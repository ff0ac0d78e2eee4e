"""Values of labels in the hub's metrics, from fixed sets.

Metric names start with `embryofl_`, units are base units and part of the name. What the hub knows of a clinic is called
`embryofl_clinic_*`; what a clinic's own process exports is called `embryofl_trainer_*`. Labels are bounded: a clinic's
name, and words and numbers from the sets below. Nothing about a patient or an image is ever a label.
"""

from embryofl import states

CLINIC_STATES = tuple(states.CLINIC)
RUN_STATES = ("none", *states.RUN)
ROUND_PHASES = tuple(states.PHASE)
UPDATE_RESULTS = ("accepted", "refused", "late", "failed")
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Thresholds at which sensitivity and specificity are exported."""
ROUND_BUCKETS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400)
POOLED = "pooled"
"""Takes a clinic's place in the label `clinic` where a metric is over all clinics together."""
ALL_DAYS = "all"
