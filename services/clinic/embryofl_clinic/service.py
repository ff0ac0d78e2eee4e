"""The clinic process: join, or wait until the clinic has joined, then work until stopped."""

import logging

import torch

from embryofl.process import keep_freed_memory, set_up_logging, stop_on_signals
from embryofl_clinic import exporter
from embryofl_clinic.exporter import TrainerMetrics
from embryofl_clinic.joining.identity import ClinicIdentity
from embryofl_clinic.policy.rules import load_rules
from embryofl_clinic.settings import ClinicSettings
from embryofl_clinic.trainer import Trainer
from embryofl_clinic.workload.embryo import WorkloadCache
from embryofl_clinic.workload.request_handler import Workloads

log = logging.getLogger("embryofl.clinic")


def serve(settings: ClinicSettings, workloads: Workloads | None = None) -> None:
    """Run one clinic in this process; other `workloads` run another workload.

    Raises
    ------
    UserError
        When the data cannot be trained on, or the clinic cannot join.
    """
    set_up_logging()
    load_rules(settings.state_dir)  # reports an unreadable policy at the start
    identity = ClinicIdentity(settings.identity_dir)
    hub = identity.membership
    if hub is None:
        from embryofl_clinic.joining.join import first_join  # see docs/house.toml, late_imports

        hub = first_join(settings, identity)
    stop = stop_on_signals()
    keep_freed_memory()
    if settings.threads:
        torch.set_num_threads(settings.threads)
    metrics = TrainerMetrics(hub.name, settings.state_dir / "alive")
    exporter.start(settings, metrics)
    if workloads is None:
        workloads = cache = WorkloadCache(settings, metrics)
        cache.warm_up()
    Trainer(settings, identity, hub, workloads, stop, metrics).run()
    log.info("stopped")
