"""A clinic that attacks. The file `attack` in its state folder has one word per round; the last counts for all later ones.

honest   like any other               nan     an update of NaN
scale    an update 1e6 times as long  flip    trained on inverted labels
count    claims 10^12 embryos         claim   metrics over more embryos than it has
garbage  a reply that is not JSON     big     a reply of 1.5 MB
huge     2 GB as an upload and 2 GB as a message, then a reply without an update
"""

import json
import os
from http.client import HTTPSConnection
from typing import Any

import numpy as np
import quick_clinic  # noqa: F401

from embryofl.invite import HUB_NAME
from embryofl_clinic.joining.identity import ClinicIdentity
from embryofl_clinic.joining.route import HubContext
from embryofl_clinic.link.fleet_link import FleetLink, Incoming
from embryofl_clinic.link.transfer import HttpTransfers
from embryofl_clinic.service import serve
from embryofl_clinic.settings import load_settings
from embryofl_clinic.workload.embryo import Trained, WorkloadCache

SETTINGS = load_settings()
CHUNK = b"\0" * (1 << 20)


ROUND = [1]


def attack() -> str:
    words = (SETTINGS.state_dir / "attack").read_text().split()
    return words[min(ROUND[0], len(words)) - 1]


class AttackingBench(WorkloadCache):
    """Falsifies training in the way that `attack` names."""

    def get(self, request: Any) -> Any:
        workload = super().get(request)
        if hasattr(workload, "honest"):
            return workload
        workload.honest = True
        load, train = workload.load, workload.train
        labels = {name: getattr(workload.data, name).labels for name in ("train", "validation", "test")}

        def bent_load(packed: np.ndarray) -> None:
            workload.before = packed.copy()
            load(packed)

        def bent_train(request: Any, seed: int) -> Trained:
            ROUND[0] = request.round
            how = attack()
            values = labels["train"]
            original = values.copy()
            if how == "flip":
                values[:] = 1 - values
            try:
                trained = train(request, seed)
            finally:
                values[:] = original
            for new, old in zip(
                workload.layout.section_views(trained.packed),
                workload.layout.section_views(workload.before),
                strict=True,
            ):
                if new.dtype.kind == "f" and how in ("nan", "scale"):
                    new[:] = np.nan if how == "nan" else old + 1e6 * (new - old)
            return Trained(trained.packed, trained.loss, 10**12 if how == "count" else trained.examples)

        workload.load, workload.train = bent_load, bent_train
        return workload


def flood(hub: str, ca: str, method: str, path: str) -> None:
    """Send 2 GB; the hub decides how much of it to accept."""
    context = HubContext.of(ca, HUB_NAME, ClinicIdentity(SETTINGS.identity_dir).certificate())
    connection = HTTPSConnection(hub, timeout=20, context=context)
    try:
        connection.request(method, path, (CHUNK for _ in range(2048)), {"Content-Length": str(2 << 30)})
        connection.getresponse().read()
    except OSError:
        pass
    finally:
        connection.close()


_upload = HttpTransfers.upload


def _bent_upload(self: HttpTransfers, url: str, data: np.ndarray, deadline: float) -> Any:
    if attack() == "huge":
        member = json.loads((SETTINGS.identity_dir / "hub.json").read_text())
        hub = os.environ.get("EMBRYOFL_HUBS") or member["hubs"][0]
        flood(hub, member["ca"], "PUT", url)
        flood(hub, member["ca"], "POST", "/v1/fleet/push-object")
        return None
    return _upload(self, url, data, deadline)


_reply = FleetLink.reply


def _bent_reply(self: FleetLink, incoming: Incoming, text: str, seconds: float) -> None:
    how = attack()
    if how == "garbage":
        text = "\x1b[2J" + "garbage" * 100
    elif how == "big":
        text = json.dumps({**json.loads(text), "device": "x" * 1_500_000})
    elif how == "claim":
        body = json.loads(text)
        for day in body["validation"]["days"].values():
            day["histogram"] = [[1000 for _ in row] for row in day["histogram"]]
        text = json.dumps(body)
    _reply(self, incoming, text, seconds)


HttpTransfers.upload = _bent_upload  # type: ignore[method-assign]
FleetLink.reply = _bent_reply  # type: ignore[method-assign]
if __name__ == "__main__":
    serve(SETTINGS, AttackingBench(SETTINGS))
