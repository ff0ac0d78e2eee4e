"""`embryofl-clinic` with a fast clock: it requests its status every second, not every ten.

It does not warm up the default model either, which no run of these tests uses.
"""

from embryofl_clinic import cli
from embryofl_clinic.joining import status
from embryofl_clinic.workload.embryo import WorkloadCache

status.EVERY_S, status.SOON_S = 1.0, 0.5
WorkloadCache.warm_up = lambda self: None  # type: ignore[method-assign]

if __name__ == "__main__":
    cli.main()
