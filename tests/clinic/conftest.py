"""Stand-ins for what surrounds a trainer: a link that keeps its replies, transfers and a tiny workload."""

import hashlib
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from embryofl.invite import HUB_NAME
from embryofl.messages import Request, UploadReceipt
from embryofl.metrics import ScoredEmbryos
from embryofl.schema import Download
from embryofl.settings import RunSettings
from embryofl.wire import Layout
from embryofl_clinic.exporter import TrainerMetrics
from embryofl_clinic.joining.identity import ClinicIdentity, JoinedHub
from embryofl_clinic.link.fleet_link import Incoming
from embryofl_clinic.settings import ClinicSettings
from embryofl_clinic.trainer import Trainer
from embryofl_clinic.workload.embryo import Trained
from kits.policy import write_policy

LAYOUT = Layout.of({"w": ("F32", (4,))})


def packed(value: float) -> np.ndarray:
    state = LAYOUT.empty()
    LAYOUT.tensor_views(state)["w"][:] = value
    return state


class FakeLink:
    """Keeps the replies and failures that the trainer sends."""

    def __init__(self) -> None:
        self.replies: list[str] = []
        self.failures: list[str] = []

    def reply(self, incoming: Incoming, text: str, seconds: float) -> None:
        self.replies.append(text)

    def report_failure(self, incoming: Incoming, kind: str, seconds: float) -> None:
        self.failures.append(kind)


class FakeTransfers:
    """Serves the same model for every URL and keeps uploads; raises `broken` if that is set."""

    def __init__(self) -> None:
        self.uploads: list[tuple[str, bytes]] = []
        self.downloads = 0
        self.broken: Exception | None = None

    def download(self, wanted: Download, deadline: float) -> np.ndarray:
        self.downloads += 1
        if self.broken:
            raise self.broken
        return packed(0.0)

    def upload(self, url: str, data: np.ndarray, deadline: float) -> UploadReceipt:
        self.uploads.append((url, data.tobytes()))
        return UploadReceipt(size=data.size, sha256=hashlib.sha256(data).hexdigest())


class FakeWorkload:
    """Counts how often it trains; the result depends on the seed alone."""

    layout, device, examples = LAYOUT, "cpu", 50

    def __init__(self) -> None:
        self.trained = 0
        self.broken: Exception | None = None

    def load(self, state: np.ndarray) -> None:
        LAYOUT.check(state)

    def evaluate(self, split: str) -> ScoredEmbryos:
        rng = np.random.default_rng(0)
        return ScoredEmbryos(rng.random(30), np.arange(30) % 2, np.full(30, 5))

    def train(self, request: Request, seed: int) -> Trained:
        if self.broken:
            raise self.broken
        self.trained += 1
        return Trained(packed(seed % 1000), 0.5, self.examples)


@pytest.fixture
def make_request() -> Any:
    """Make a request of the agreed form."""

    def make(**changes: Any) -> Request:
        body: dict[str, Any] = {
            "kind": "train",
            "run": "run-0001",
            "round": 1,
            "clinic": "anna",
            "settings": RunSettings(),
            "layout": LAYOUT.id,
            "model": Download(url="/v1/model/x", size=LAYOUT.size, sha256="a" * 64),
            "upload_url": "/v1/update/first",
            "deadline": 1e12,
        }
        return Request(**(body | changes))

    return make


@pytest.fixture
def clinic(tmp_path: Path) -> Any:
    """`clinic(hub=..., settings...)`: the trainer of clinic anna and its stand-ins; `receive(request)` hands it a request."""

    def make(hub: JoinedHub | None = None, **changes: Any) -> SimpleNamespace:
        settings = ClinicSettings(state_dir=tmp_path / "state", data_dir=tmp_path / "data", **changes)
        write_policy(settings.state_dir)
        identity = ClinicIdentity(settings.identity_dir)
        link, transfers, workload, stop = FakeLink(), FakeTransfers(), FakeWorkload(), threading.Event()
        bench = SimpleNamespace(get=lambda request: workload)
        member = hub or JoinedHub(name="anna", hubs=["localhost:1"], ca="", server_name=HUB_NAME)
        metrics = TrainerMetrics("anna")
        trainer = Trainer(settings, identity, member, bench, stop, metrics)  # type: ignore[arg-type]

        def receive(request: Request | str) -> None:
            text = request if isinstance(request, str) else request.model_dump_json()
            trainer.handle(link, transfers, Incoming(text, None))  # type: ignore[arg-type]

        return SimpleNamespace(
            trainer=trainer,
            settings=settings,
            metrics=metrics,
            link=link,
            transfers=transfers,
            workload=workload,
            bench=bench,
            receive=receive,
            stop=stop,
        )

    return make
