"""The clinic process: look at the data, join if need be, work until told to stop."""

import logging
import os
import signal
import threading

from embryofl_clinic import exporter
from embryofl_clinic.exporter import TrainerMetrics
from embryofl_clinic.joining.enter import join_federation
from embryofl_clinic.joining.identity import ClinicIdentity
from embryofl_clinic.policy.rules import load_rules
from embryofl_clinic.settings import ClinicSettings
from embryofl_clinic.workload.embryo import WorkloadCache

# Before flwr is imported: no telemetry, no look for updates.
os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1")

log = logging.getLogger("embryofl.clinic")


def setup_logging_and_signals() -> threading.Event:
    """Set up logging; returns an event that SIGTERM and SIGINT set."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("httpx", "httpcore", "flwr"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def serve(settings: ClinicSettings, bench: WorkloadCache | None = None) -> None:
    """Run one clinic in this process.

    Raises
    ------
    UserError
        When the data cannot be trained on, or the clinic cannot join.
    """
    stop = setup_logging_and_signals()
    load_rules(settings.state_dir)  # a policy that cannot be read is said now
    identity = ClinicIdentity(settings.identity_dir)
    membership = identity.membership or join_federation(settings, identity, stop)
    import torch

    if settings.threads:
        torch.set_num_threads(settings.threads)
    own = bench is None
    metrics = TrainerMetrics(membership.name, settings.state_dir / "alive")
    exporter.start(settings, metrics)
    bench = bench or WorkloadCache(settings, metrics)
    if own:
        bench.warm_up()
    from embryofl_clinic.trainer import Trainer

    Trainer(settings, identity, membership, bench, stop, metrics).run()
    log.info("stopped")
