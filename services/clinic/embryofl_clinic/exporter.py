"""The clinic's own metrics: what it does right now, for the clinic's own Prometheus. Plain HTTP, off unless a port is set.

The agent and the workload say what they do to a `TrainerMetrics`; a scrape reads it. What the hub should know as well
travels in the replies (`seconds`, `memory_bytes`, `reconnects`), so that a clinic that nobody can scrape is not missing
on the coordinator's dashboards.
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
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.metrics_core import Metric as Family

from embryofl.exposition import Families
from embryofl.messages import PROTOCOL
from embryofl.metric_names import CLINIC_PHASES, TRAINER, TRAINER_PHASES

if TYPE_CHECKING:
    from embryofl_clinic.settings import ClinicSettings
    from embryofl_data import ImageExamples

log = logging.getLogger("embryofl.exporter")

RESULTS = ("trained", "evaluated", "refused", "failed")


class TrainerMetrics:
    """What one clinic's process does; written by one thread, read by the exporter's.

    Parameters
    ----------
    clinic : str
        The clinic's name: the first label of every metric.
    contact : Path, optional
        File whose age tells when the hub last answered.
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
        """The hub answered, or cannot be reached."""
        if up and not self._connected:
            self.reconnects += self._ever
            self._ever = True
        self._connected = up

    def standing(self, state: str) -> None:
        """How the hub says this clinic stands."""
        self._suspended = state == "suspended"

    def phase(self, phase: str) -> None:
        """What begins now; "idle" ends it."""
        now = time.monotonic()
        if self._phase != "idle":
            self._phase_seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now

    def work(self, round_: int, device: str) -> None:
        """A request for a round is worked on."""
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
        """So many of the round's batches are done; the mean loss so far."""
        an_epoch = max(1, total // max(1, self._epochs))
        self._batch, self._batches, self._loss = done, total, loss
        self._epoch = min(self._epochs, (done - 1) // an_epoch + 1)
        whole, more = divmod(done, an_epoch)
        self._images = self._images_before + whole * self._examples + min(more * self._batch_size, self._examples)

    def timed(self, examples: "ImageExamples") -> "ImageExamples":
        """The same examples; the time of reading their pixels is counted as loading."""
        return dataclasses.replace(examples, pixels=cast(np.ndarray, _TimedPixels(examples.pixels, self)))

    def loaded(self, seconds: float) -> None:
        """Images were read."""
        self._loading += seconds

    def take_loading(self) -> float:
        """Seconds of loading since this was last asked."""
        taken, self._loading_taken = self._loading - self._loading_taken, self._loading
        return taken

    # -- what a scrape reads ----------------------------------------------------------------------------------------
    def collect(self) -> Iterator[Family]:
        """All families (called by the registry)."""
        out = Families(TRAINER, self.clinic)
        out.add("embryofl_trainer_info", 1, version("embryofl-clinic"), str(PROTOCOL), self._device)
        out.add("embryofl_trainer_connected", self._connected)
        out.add("embryofl_trainer_suspended", self._suspended)
        out.add("embryofl_trainer_reconnects_total", self.reconnects)
        contact = self._contact
        seen = contact.stat().st_mtime if contact and contact.exists() else 0.0
        out.add("embryofl_trainer_contact_timestamp_seconds", seen)
        for result in RESULTS:
            out.add("embryofl_trainer_answers_total", self._answers[result], result)
        phase, since = self._phase, self._since
        out.one_of("embryofl_trainer_phase", TRAINER_PHASES, phase)
        for name in CLINIC_PHASES:
            running = time.monotonic() - since if name == phase else 0.0
            out.add("embryofl_trainer_phase_seconds_total", self._phase_seconds[name] + running, name)
        for name, value in (
            ("round", self._round),
            ("epoch", self._epoch),
            ("epochs", self._epochs),
            ("batch", self._batch),
            ("batches", self._batches),
            ("images_total", self._images),
            ("loading_seconds_total", self._loading),
            ("train_loss", self._loss),
            ("examples", self._examples),
            ("device_memory_bytes", memory(self._device)),
        ):
            out.add(f"embryofl_trainer_{name}", value)
        for direction in ("down", "up"):
            out.add("embryofl_trainer_transferred_bytes_total", self._bytes[direction], direction)
        return iter(out)


class _TimedPixels:
    """Pixels that count the time of reading them."""

    def __init__(self, pixels: np.ndarray, metrics: TrainerMetrics) -> None:
        self._pixels, self._metrics = pixels, metrics

    def __getitem__(self, rows: Any) -> np.ndarray:
        began = time.monotonic()
        found = np.array(self._pixels[rows])
        self._metrics.loaded(time.monotonic() - began)
        return found


def memory(device: str) -> int:
    """Bytes of GPU memory in use by this process; without a GPU, its resident memory (0 where it cannot be told)."""
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


def start(settings: "ClinicSettings", metrics: TrainerMetrics) -> None:
    """Serve the metrics until the process ends; nothing when the port is 0."""
    if not settings.metrics_port:
        return
    try:
        start_http_server(settings.metrics_port, settings.metrics_host, make_registry(metrics))
    except OSError as exc:
        log.error(
            "no metrics: %s:%d cannot be listened on (%s). Free the port or choose another with EMBRYOFL_METRICS_PORT.",
            settings.metrics_host,
            settings.metrics_port,
            exc.strerror,
        )
