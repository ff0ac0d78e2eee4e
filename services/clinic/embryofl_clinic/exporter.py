"""The clinic's own metrics: what it does right now, for the clinic's own Prometheus. Plain HTTP, off unless a port is set.

Trainer and workload report to a `TrainerMetrics`; a scrape reads it. What the hub should know as well travels in the
replies (`seconds`, `memory_bytes`, `reconnects`), so that a clinic that nobody can scrape is not missing on the
coordinator's dashboards.
"""

import dataclasses
import logging
import math
import os
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.metrics_core import Metric as Family

from embryofl.exposition import Families, read_table
from embryofl.messages import CLINIC_PHASES
from embryofl.protocol import PROTOCOL
from embryofl_clinic.settings import ClinicSettings
from embryofl_data.dataset import ImageExamples

log = logging.getLogger("embryofl.exporter")

METRICS = read_table(Path(__file__).with_name("metrics.toml"))
RESULTS = ("trained", "evaluated", "refused", "failed")
AT_START = (
    *(
        (name,)
        for name in ("connected", "suspended", "reconnects_total", "round", "epoch", "epochs", "batch", "batches")
    ),
    *((name,) for name in ("images_total", "loading_seconds_total", "examples")),
    *(("answers_total", result) for result in RESULTS),
    *(("transferred_bytes_total", direction) for direction in ("down", "up")),
    *(("phase", phase) for phase in ("idle", *CLINIC_PHASES)),
    *(("phase_seconds_total", phase) for phase in CLINIC_PHASES),
)
"""What is exported as 0 until something happens: a metric's name without `embryofl_trainer_`, and its labels."""


class TrainerMetrics:
    """What one clinic's process is doing; written by one thread, read by the exporter's.

    Parameters
    ----------
    clinic : str
        The clinic's name: the first label of every metric.
    contact : Path, optional
        File whose modification time is when the hub last replied.
    """

    def __init__(self, clinic: str, contact: Path | None = None) -> None:
        self.clinic, self._contact = clinic, contact
        self._samples: dict[tuple[str, ...], float] = dict.fromkeys(AT_START, 0.0)
        self._was_connected = False
        self._phase, self._since = "idle", time.monotonic()
        self._batch_size, self._images_before, self._loading_before = 1, 0.0, 0.0
        self._device = "cpu"

    # -- what happens -----------------------------------------------------------------------------------------------
    def connection(self, up: bool) -> None:
        """The hub replied, or cannot be reached."""
        if up and not self._samples["connected",]:
            self._samples["reconnects_total",] += self._was_connected
            self._was_connected = True
        self._samples["connected",] = up

    def membership(self, state: str) -> None:
        """The state of its membership, as the hub reports it."""
        self._samples["suspended",] = state == "suspended"

    def phase(self, phase: str) -> None:
        """A phase begins; "idle" ends it."""
        now = time.monotonic()
        if self._phase != "idle":
            self._samples["phase_seconds_total", self._phase] += now - self._since
        self._phase, self._since = phase, now

    def work(self, round_: int, device: str) -> None:
        """Work on a request for a round begins."""
        self._samples["round",], self._device = round_, device

    def transferred(self, direction: str, size: int) -> None:
        """A file of `size` bytes was downloaded ("down") or uploaded ("up")."""
        self._samples["transferred_bytes_total", direction] += size

    def answered(self, result: str) -> None:
        """A reply was sent: one of `RESULTS`."""
        self._samples["answers_total", result] += 1
        self.phase("idle")

    def begin_training(self, examples: int, batch_size: int, epochs: int) -> None:
        """Training begins."""
        self._batch_size, self._images_before = batch_size, self._samples["images_total",]
        batches = epochs * math.ceil(examples / batch_size)
        self._samples |= {("examples",): examples, ("epochs",): epochs, ("batches",): batches}
        self._samples |= {("batch",): 0, ("epoch",): 1}

    def progress(self, done: int, total: int, loss: float) -> None:
        """`done` of the round's `total` batches are done, with this mean loss so far."""
        epochs, examples = self._samples["epochs",], self._samples["examples",]
        per_epoch = max(1, total // max(1, int(epochs)))
        self._samples |= {("batch",): done, ("batches",): total, ("train_loss",): loss}
        self._samples["epoch",] = min(epochs, (done - 1) // per_epoch + 1)
        complete, more = divmod(done, per_epoch)
        images = complete * examples + min(more * self._batch_size, examples)
        self._samples["images_total",] = self._images_before + images

    def timed(self, examples: ImageExamples) -> ImageExamples:
        """The same examples; the time that reading their pixels takes is counted as loading."""
        return dataclasses.replace(examples, pixels=cast(np.ndarray, _TimedPixels(examples.pixels, self)))

    def loaded(self, seconds: float) -> None:
        """Images were read."""
        self._samples["loading_seconds_total",] += seconds

    def take_loading(self) -> float:
        """Seconds of loading since the last call."""
        before, self._loading_before = self._loading_before, self._samples["loading_seconds_total",]
        return self._loading_before - before

    @property
    def reconnects(self) -> int:
        """How often the hub was lost and found again."""
        return int(self._samples["reconnects_total",])

    # -- what a scrape reads ----------------------------------------------------------------------------------------
    def collect(self) -> Iterator[Family]:
        """All families (called by the registry)."""
        samples, phase, since, contact = dict(self._samples), self._phase, self._since, self._contact
        samples["phase", phase] = 1
        if phase != "idle":
            samples["phase_seconds_total", phase] += time.monotonic() - since
        samples["contact_timestamp_seconds",] = contact.stat().st_mtime if contact and contact.exists() else 0
        samples["device_memory_bytes",] = memory(self._device)
        samples["info", version("embryofl-clinic"), str(PROTOCOL), self._device] = 1
        families = Families(METRICS, self.clinic)
        for (name, *labels), value in samples.items():
            families.add(f"embryofl_trainer_{name}", value, *labels)
        return families.collect()


class _TimedPixels:
    """Pixels that measure the time of reading them."""

    def __init__(self, pixels: np.ndarray, metrics: TrainerMetrics) -> None:
        self._pixels, self._metrics = pixels, metrics

    def __getitem__(self, rows: Any) -> np.ndarray:
        began = time.monotonic()
        pixels = np.array(self._pixels[rows])
        self._metrics.loaded(time.monotonic() - began)
        return pixels


def memory(device: str) -> int:
    """Bytes of GPU memory in use by this process; without a GPU, its resident memory (0 if unknown)."""
    torch = sys.modules.get("torch")
    if device.startswith("cuda") and torch is not None:
        return int(torch.cuda.memory_reserved())
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def make_registry(metrics: TrainerMetrics) -> CollectorRegistry:
    """A registry of its own for one clinic."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(metrics)
    return registry


def start(settings: ClinicSettings, metrics: TrainerMetrics) -> None:
    """Serve the metrics until the process ends; nothing when the port is 0."""
    if not settings.metrics_port:
        return
    try:
        start_http_server(settings.metrics_port, settings.metrics_host, make_registry(metrics))
    except OSError as exc:
        log.error(
            "No metrics: cannot listen on %s:%d (%s). Free the port, or choose another with EMBRYOFL_METRICS_PORT.",
            settings.metrics_host,
            settings.metrics_port,
            exc.strerror,
        )
