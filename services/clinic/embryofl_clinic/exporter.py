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
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.metrics_core import Metric as Family

from embryofl.exposition import Families, read_table
from embryofl.messages import PROTOCOL
from embryofl.metric_labels import CLINIC_PHASES, TRAINER_PHASES
from embryofl_clinic.settings import ClinicSettings
from embryofl_data import ImageExamples

log = logging.getLogger("embryofl.exporter")

METRICS = read_table(Path(__file__).with_name("metrics.toml"))
RESULTS = ("trained", "evaluated", "refused", "failed")


class TrainerMetrics:
    """What one clinic's process is doing; written by one thread, read by the exporter's.

    Parameters
    ----------
    clinic : str
        The clinic's name: the first label of every metric.
    contact : Path, optional
        File whose time of change is when the hub last replied.
    """

    def __init__(self, clinic: str, contact: Path | None = None) -> None:
        self.clinic, self._contact = clinic, contact
        self._connected, self._ever, self.reconnects = False, False, 0
        self._suspended = False
        self._phase, self._since = "idle", time.monotonic()
        self._phase_seconds = dict.fromkeys(CLINIC_PHASES, 0.0)
        self._answers: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._round = self._epoch = self._epochs = self._batch = self._batches = 0
        self._examples, self._batch_size, self._images, self._images_before = 0, 1, 0, 0
        self._loading, self._loading_taken = 0.0, 0.0
        self._loss: float | None = None
        self._device = "cpu"

    # -- what happens -----------------------------------------------------------------------------------------------
    def connection(self, up: bool) -> None:
        """The hub replied, or cannot be reached."""
        if up and not self._connected:
            self.reconnects += self._ever
            self._ever = True
        self._connected = up

    def standing(self, state: str) -> None:
        """The state of its membership, as the hub reports it."""
        self._suspended = state == "suspended"

    def phase(self, phase: str) -> None:
        """A phase begins; "idle" ends it."""
        now = time.monotonic()
        if self._phase != "idle":
            self._phase_seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now

    def work(self, round_: int, device: str) -> None:
        """Work on a request for a round begins."""
        self._round, self._device = round_, device

    def transferred(self, direction: str, size: int) -> None:
        """A file went "down" or "up"."""
        self._bytes[direction] += size

    def answered(self, result: str) -> None:
        """A request was answered: one of `RESULTS`."""
        self._answers[result] += 1
        self.phase("idle")

    def begin_training(self, examples: int, batch_size: int, epochs: int) -> None:
        """Training begins."""
        self._examples, self._batch_size, self._epochs = examples, batch_size, epochs
        self._batch, self._epoch, self._images_before = 0, 1, self._images
        self._batches = epochs * math.ceil(examples / batch_size)

    def progress(self, done: int, total: int, loss: float) -> None:
        """`done` of the round's `total` batches are done, with this mean loss so far."""
        per_epoch = max(1, total // max(1, self._epochs))
        self._batch, self._batches, self._loss = done, total, loss
        self._epoch = min(self._epochs, (done - 1) // per_epoch + 1)
        epochs, more = divmod(done, per_epoch)
        self._images = self._images_before + epochs * self._examples + min(more * self._batch_size, self._examples)

    def timed(self, examples: ImageExamples) -> ImageExamples:
        """The same examples; the time that reading their pixels takes is counted as loading."""
        return dataclasses.replace(examples, pixels=cast(np.ndarray, _TimedPixels(examples.pixels, self)))

    def loaded(self, seconds: float) -> None:
        """Images were read."""
        self._loading += seconds

    def take_loading(self) -> float:
        """Seconds of loading since the last call."""
        taken, self._loading_taken = self._loading - self._loading_taken, self._loading
        return taken

    # -- what a scrape reads ----------------------------------------------------------------------------------------
    def collect(self) -> Iterator[Family]:
        """All families (called by the registry)."""
        out, contact = Families(METRICS, self.clinic), self._contact
        seen = contact.stat().st_mtime if contact and contact.exists() else 0
        values = {
            "embryofl_trainer_connected": self._connected,
            "embryofl_trainer_suspended": self._suspended,
            "embryofl_trainer_reconnects_total": self.reconnects,
            "embryofl_trainer_contact_timestamp_seconds": seen,
            "embryofl_trainer_round": self._round,
            "embryofl_trainer_epoch": self._epoch,
            "embryofl_trainer_epochs": self._epochs,
            "embryofl_trainer_batch": self._batch,
            "embryofl_trainer_batches": self._batches,
            "embryofl_trainer_images_total": self._images,
            "embryofl_trainer_loading_seconds_total": self._loading,
            "embryofl_trainer_train_loss": self._loss,
            "embryofl_trainer_examples": self._examples,
            "embryofl_trainer_device_memory_bytes": memory(self._device),
        }
        out.add_all(values)
        out.add("embryofl_trainer_info", 1, version("embryofl-clinic"), str(PROTOCOL), self._device)
        for result in RESULTS:
            out.add("embryofl_trainer_answers_total", self._answers[result], result)
        for direction in ("down", "up"):
            out.add("embryofl_trainer_transferred_bytes_total", self._bytes[direction], direction)
        phase, since = self._phase, self._since
        out.one_of("embryofl_trainer_phase", TRAINER_PHASES, phase)
        for name in CLINIC_PHASES:
            running = time.monotonic() - since if name == phase else 0.0
            out.add("embryofl_trainer_phase_seconds_total", self._phase_seconds[name] + running, name)
        return out.collect()


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
