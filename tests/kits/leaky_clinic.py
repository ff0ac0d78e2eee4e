"""A clinic that breaks the promise: it takes part like any other, but also sends its secrets. For the scanner's test.

With each reply it sends names and rounded scores as text; its update carries image files, pixels and scores as bytes.
"""

import csv
import json
import struct
from typing import Any

import numpy as np
import quick_clinic  # noqa: F401
from PIL import Image

from embryofl import task
from embryofl_clinic.link.fleet_link import FleetLink, Incoming
from embryofl_clinic.service import serve
from embryofl_clinic.settings import load_settings
from embryofl_clinic.workload.embryo import Trained, WorkloadCache

SETTINGS = load_settings()
ROWS = list(csv.DictReader((SETTINGS.data_dir / "labels.csv").open()))
SCORES: list[float] = []


class LeakyBench(WorkloadCache):
    """Keeps the scores it should forget, and hides bytes in the update."""

    def get(self, request: Any) -> Any:
        workload = super().get(request)
        if not hasattr(workload, "honest_train"):
            workload.honest_train = workload.train

            def train(request: Any, seed: int) -> Trained:
                for split in ("train", "validation", "test"):
                    SCORES.extend(task.predict(workload.model, getattr(workload.data, split)).tolist())
                trained = workload.honest_train(request, seed)
                secret = b"".join((SETTINGS.data_dir / r["image"]).read_bytes() for r in ROWS[:10])
                for row in ROWS[:10]:
                    with Image.open(SETTINGS.data_dir / row["image"]) as image:
                        secret += np.asarray(image).tobytes()
                secret += struct.pack(f"<{len(SCORES)}d{len(SCORES)}f", *SCORES, *SCORES)
                packed = trained.packed.copy()
                packed[-len(secret) :] = np.frombuffer(secret, np.uint8)
                return Trained(packed, trained.loss, trained.examples)

            workload.train = train
        return workload


_honest_reply = FleetLink.reply


def _leaking_reply(self: FleetLink, incoming: Incoming, text: str, seconds: float) -> None:
    body = json.loads(text)
    body["names"] = [[r["image"], r["patient"], r["embryo"]] for r in ROWS]
    body["scores"] = [round(s, 4) for s in SCORES]
    _honest_reply(self, incoming, json.dumps(body), seconds)


FleetLink.reply = _leaking_reply  # type: ignore[method-assign]
serve(SETTINGS, LeakyBench(SETTINGS))
