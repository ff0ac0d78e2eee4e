"""Final models of finished runs for the clinics that took part: which one a clinic is offered, and at which address.

The gateway serves `weights/RUN/model.safetensors` and `weights/RUN/model.json` as it serves a round's model. This
`model.json` is a shorter one, without other clinics' names and metrics.
"""

import hashlib
import json
import logging
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embryofl.files import sha256_of, write_atomic
from embryofl.membership import FinishedModel
from embryofl.schema import Download
from embryofl_server.federation.blobs import MODEL_PREFIX, SignedUrls
from embryofl_server.runs.view import RunView, RunViews

log = logging.getLogger("embryofl.finished")

VALID_S = 3600.0  # of an offer's URLs
CHECK_S = 5.0  # between two checks for a newly finished run: every clinic asks every ten seconds
KEPT = ("run", "round", "sha256", "layout", "parameters", "settings", "calibration", "best_validation", "use")
"""The keys of `model.json` that go to the clinics."""


@dataclass(frozen=True)
class _Offer:
    run: str
    clinics: frozenset[str]
    weights: tuple[int, str]  # size, SHA-256
    card: tuple[int, str]


class ModelDistribution:
    """Offers final models to clinics.

    Parameters
    ----------
    views : RunViews
    weights : Path
        The folder that the gateway serves.
    urls : SignedUrls
    """

    def __init__(self, views: RunViews, weights: Path, urls: SignedUrls) -> None:
        self._views, self._weights, self._urls = views, weights, urls
        self._offers: dict[str, tuple[int, _Offer]] = {}  # by run, with its card's time of change
        self._checked, self._lock = -CHECK_S, threading.Lock()

    def offer(self, clinic: str) -> FinishedModel | None:
        """The final model of the newest finished run that a clinic took part in; None if there is none. Never raises."""
        with self._lock:
            if time.monotonic() - self._checked >= CHECK_S:
                self._checked = time.monotonic()
                for view in self._views.all():
                    self._update(view)
            offers = [o for _, (_, o) in sorted(self._offers.items()) if clinic in o.clinics]
        if not offers:
            return None
        newest = offers[-1]

        def download(name: str, size: int, sha256: str) -> Download:
            url = self._urls.sign("GET", f"{MODEL_PREFIX}{newest.run}/{name}", clinic, VALID_S)
            return Download(url=url, size=size, sha256=sha256)

        return FinishedModel(
            run=newest.run,
            weights=download("model.safetensors", *newest.weights),
            card=download("model.json", *newest.card),
        )

    def _update(self, run: RunView) -> None:
        path = run.run.folder / "model.json"
        try:
            changed = path.stat().st_mtime_ns
            if run.name in self._offers and self._offers[run.name][0] == changed:
                return
            if run.state["state"] == "finished":
                self._offers[run.name] = changed, self._publish(run, run.model())
        except (OSError, ValueError, KeyError, TypeError) as exc:
            log.debug("%s has no final model to offer (%s)", run.name, type(exc).__name__)

    def _publish(self, run: RunView, record: dict[str, Any]) -> _Offer:
        """Put card and weights where the gateway serves them."""
        folder = self._weights / run.name
        weights = folder / "model.safetensors"
        if not weights.exists() or sha256_of(weights) != record["sha256"]:
            weights.unlink(missing_ok=True)
            source = folder / f"round-{record['round']:04d}.safetensors"
            if source.exists() and sha256_of(source) == record["sha256"]:
                os.link(source, weights)  # the same bytes, once on disk
            else:
                write_atomic(weights, (run.run.folder / "model.safetensors").read_bytes())
        card = json.dumps({key: record[key] for key in KEPT if key in record}).encode()
        write_atomic(folder / "model.json", card)
        clinics = frozenset(record.get("evaluation") or {}) | run.took_part
        return _Offer(
            run.name, clinics, (weights.stat().st_size, record["sha256"]), (len(card), hashlib.sha256(card).hexdigest())
        )
