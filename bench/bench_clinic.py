"""A clinic that trains the common benchmark workload instead of embryos; everything around it is the real clinic."""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, os.environ["BENCH_DIR"])
import httpx
import numpy as np
import torch

import common
from embryofl import packing
from embryofl.invite import Invite
from embryofl.messages import Request
from embryofl.metrics import ScoredEmbryos
from embryofl_clinic.joining.enrol import enrol
from embryofl_clinic.joining.identity import ClinicIdentity
from embryofl_clinic.link.fetching import Fetcher
from embryofl_clinic.settings import load_settings
from embryofl_clinic.trainer import Trainer
from embryofl_clinic.workload.embryo import Trained, WorkloadCache

Fetcher.consider = lambda *_: None  # type: ignore[method-assign]  # the other frameworks send no finished model


def count_requests(file: Path) -> None:
    """Have each request of this process to the hub add its path to a file."""
    send = httpx.Client.send

    def counted(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        with file.open("a") as lines:
            lines.write(f"{request.url.path}\n")
        return send(client, request, **options)

    httpx.Client.send = counted  # type: ignore[method-assign]


class BenchWorkload:
    """See `embryofl_clinic.workload.embryo.Workload`."""

    device = "cpu"

    def __init__(self, site: int) -> None:
        self.site, self.model, self.data = site, common.make_model(), common.batches(site)
        self.layout = packing.layout_of(self.model.state_dict())
        self.examples = len(self.data) * common.BATCH

    def load(self, packed: np.ndarray) -> None:
        packing.load(packed, self.layout, self.model.state_dict())

    def evaluate(self, split: str) -> ScoredEmbryos:
        """Fixed scores, because neither the workload nor the other frameworks evaluate."""
        return ScoredEmbryos(np.linspace(0, 1, 64), np.arange(64) % 2, np.zeros(64, int))

    def train(self, request: Request, seed: int) -> Trained:
        torch.manual_seed(seed % 2**63)
        idle = "BENCH_IDLE" in os.environ
        loss = 0.0 if idle else common.timed_epoch(self.model, self.data, self.site, request.round)
        return Trained(packing.pack(self.model.state_dict(), self.layout), loss, self.examples)


class Bench(WorkloadCache):
    """Always the same workload."""

    def __init__(self, site: int) -> None:
        self._workload = BenchWorkload(site)

    def get(self, request: Request) -> BenchWorkload:
        return self._workload


def main(site: int) -> None:
    settings, stop = load_settings(), threading.Event()
    if file := os.environ.get("BENCH_REQUESTS"):
        count_requests(Path(file))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    identity = ClinicIdentity(settings.identity_dir)
    summary = {"counts": {"5": {"0": 500, "1": 500}}}  # no reply may tell of more embryos: 640 train, 64 validate
    membership = identity.membership or enrol(
        identity, Invite.parse(settings.invite_file.read_text()), settings.meaning, summary, stop
    )
    Trainer(settings, identity, membership, Bench(site), stop).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
