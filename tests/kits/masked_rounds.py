"""A fleet whose clinics are the real request handlers in this process: they train a stand-in and mask its update."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from embryofl.errors import ProtocolError
from embryofl.messages import Delivery, Request, round_seed
from embryofl.metrics import ScoredEmbryos
from embryofl_clinic.exporter import TrainerMetrics
from embryofl_clinic.joining.identity import ClinicIdentity
from embryofl_clinic.masking.attempt import Masking
from embryofl_clinic.policy.rules import Policy
from embryofl_clinic.privacy.canaries import Canaries
from embryofl_clinic.workload.embryo import Trained
from embryofl_clinic.workload.request_handler import RequestHandler
from embryofl_clinic.workload.transfers import TransferRefused
from embryofl_demo.local_fleet import FileTransfers, OneWorkload
from embryofl_server.federation.blobs import UploadRefused
from embryofl_server.federation.fleet import FleetLost, Node, RawReply
from embryofl_server.federation.mailboxes import MailboxClosed, Mailboxes
from embryofl_server.federation.masking import rounds, sums
from embryofl_server.federation.run_settings import check_settings
from kits.policy import write_policy
from kits.rounds import LAYOUT, FakeFleet, stages

EMBRYOS = {"anna": 64, "bert": 96, "cleo": 200, "dora": 130, "emil": 33}
EMBRYOS |= {name: 70 + 10 * i for i, name in enumerate(["fred", "gina", "hugo", "ida", "jan", "kira", "lars", "mona"])}

# So that the bound clips none of the stand-ins, and a clinic has the same share in a roster and among its survivors.
LEAST = {"learning_rate": 1.0, "schedule": "constant", "norm_clip": 0, "share_cap": 1.0}

_undisturbed: dict[tuple[str, str], bytes] = {}


@contextlib.contextmanager
def masked_stages(tmp_path: Path, packed: Any, monkeypatch: Any) -> Iterator[Callable[..., Any]]:
    """`make(names, settings, metrics)`: a run of these clinics, which release `metrics`, ready to be executed."""
    monkeypatch.setattr(sums, "PATIENCE_S", 0.3)
    made: list[Any] = []

    def make(names: list[str], settings: dict[str, Any], metrics: str = "own") -> Any:
        folder = tmp_path / str(len(made))
        fleet = partial(MaskedFleet, folder=folder, names=names, metrics=metrics)
        made.append(stages(folder, packed, monkeypatch, fleet))
        return next(made[-1])(**settings)

    yield make
    for each in made:
        each.close()


@contextlib.contextmanager
def masked_runs(tmp_path: Path, packed: Any, monkeypatch: Any) -> Iterator[Callable[..., Any]]:
    """`stage(clinics, masks, **settings)`: a run of two rounds, with masks unless these are "off", ready to be executed."""
    monkeypatch.setattr(rounds, "RETRY_FIRST_S", 0.05)
    with masked_stages(tmp_path, packed, monkeypatch) as ready:

        def make(clinics: int = 3, masks: str = "required", **settings: Any) -> Any:
            values = {"rounds": 2, "min_clinics": 3, "secure_aggregation": masks, "strategy": "fedavg"}
            return ready(list(EMBRYOS)[:clinics], check_settings(values | LEAST | settings).model_dump())

        yield make


def record(run: Any, number: int = 1) -> dict[str, Any]:
    """Of a round of a run."""
    found: dict[str, Any] = run.checkpoints.at(number).record
    return found


def numbers(model: bytes) -> list[np.ndarray]:
    """Of a packed model, an array for each dtype."""
    return LAYOUT.section_views(np.frombuffer(model, np.uint8))


def assert_equal(masked: bytes, plain: bytes) -> None:
    """The same model but for rounding."""
    for one, other in zip(numbers(masked), numbers(plain), strict=True):
        if one.dtype.kind == "f":
            tolerance = 1e-5 if one.dtype.itemsize > 2 else 2e-3  # half precision has three digits
            assert np.linalg.norm(one - other) <= tolerance * np.linalg.norm(other)


def undisturbed(stage: Any, **settings: Any) -> bytes:
    """The model of a run without faults, executed once for the same settings: neither masks nor keys leave a trace in it."""
    which = (stage.__module__, repr(sorted(settings.items())))
    if which not in _undisturbed:
        _undisturbed[which] = stage(**settings).go()
    return _undisturbed[which]


class Killed(BaseException):
    """The hub ends here."""


class FakeWorkload:
    """Moves the model by noise that follows from the seed. `poisons` are rounds in which its update makes the model worse for
    every clinic."""

    layout, device, is_bad = LAYOUT, "cpu", False

    def __init__(self, examples: int) -> None:
        self.examples, self.trained, self.poisons = examples, 0, set[int]()
        self.began: float | None = None
        self.is_bad = False

    def load(self, packed: np.ndarray) -> None:
        self.model, number = packed, float(LAYOUT.tensor_views(packed)["b"][0])
        self.began = number if self.began is None else self.began
        self.is_bad = number - self.began > 0.5

    def unscored(self, split: str) -> ScoredEmbryos:
        return self.evaluate(split)

    def ids(self, split: str) -> list[str]:
        return [f"{split} {number}" for number in range(50)]

    def patients(self, split: str) -> np.ndarray:
        return np.arange(50) // 2

    def features(self, split: str) -> None:
        return None

    def evaluate(self, split: str) -> ScoredEmbryos:
        rng, labels = np.random.default_rng([self.examples, len(split)]), np.arange(50) % 2
        scores = np.abs(0.8 - labels * 0.6) if self.is_bad else rng.random(50)
        return ScoredEmbryos(scores, labels, np.repeat([3, 5], [10, 40]))

    def train(self, request: Request, seed: int) -> Trained:
        self.trained += 1
        rng, state = np.random.default_rng(round_seed(7, request.round, request.clinic)), self.model.copy()
        for view in LAYOUT.section_views(state):
            if view.dtype.kind == "f":
                view += (0.1 * rng.standard_normal(view.size)).astype(view.dtype)
        if request.round in self.poisons:
            LAYOUT.tensor_views(state)["b"][0] += 5
        return Trained(state, 0.5, self.examples)

    def head(self) -> np.ndarray:
        return np.ones(17)

    def private_step(self, request: Request, canaries: Canaries | None = None) -> np.ndarray:
        self.trained += 1
        return np.full(LAYOUT.floats, 0.01)


class MaskedFleet(FakeFleet):
    """Faults are called with the request's kind, and may return:

    "silent"   the clinic never receives the request
    "lost"     it does the work, and its reply is never received
    "restart"  its process starts again: it has connected anew, and its keys are gone
    "gone"     it has gone offline for good
    "killed"   the hub ends before this request is sent

    `lie` changes each request on its way. Where `mailboxes` is set, clinics wait there once they have sent their keys.
    """

    lie = staticmethod(lambda request: request)
    mailboxes: Mailboxes | None = None

    def __init__(self, uploads: Any, packed: Any, folder: Path, names: list[str], metrics: str) -> None:
        super().__init__(uploads, packed, names)
        self.metrics = metrics  # of the clinics' policies
        self.folder, self.transfers = folder, FileTransfers(folder / "weights", uploads)
        self.workloads = {name: FakeWorkload(EMBRYOS[name]) for name in names}
        self.handlers = {name: self.start(name) for name in names}
        self.refusals: list[tuple[str, str]] = []

    def state_dir(self, name: str) -> Path:
        return self.folder / "clinics" / name

    def start(self, name: str) -> RequestHandler:
        state = self.state_dir(name)
        write_policy(state, min_examples=1, metrics=self.metrics)
        masking = Masking(state, ClinicIdentity(state / "identity"))
        policy = Policy(state, "quality", name)
        return RequestHandler(OneWorkload(self.workloads[name]), policy, TrainerMetrics(name), state, masking)

    def key(self, name: str) -> str:
        return ClinicIdentity(self.state_dir(name) / "identity").public_key

    def send(self, node: Node, text: str, ttl_s: float, group: str) -> str:
        request, name = Request.model_validate_json(text), node.name
        what = self.fault(request.kind, name, request.round)
        if what == "killed":
            raise Killed
        if what == "superlink":
            raise FleetLost("gone")
        self.sent.append((name, request.round))
        message = f"m{len(self.sent)}"
        if what == "gone":
            self.online.discard(name)
        elif what == "restart":
            self.activated[name] += 1
            self.handlers[name] = self.start(name)
        elif what != "silent":
            reply = self._work(message, name, self.lie(request))
            if what != "lost":
                self.ready[message] = reply
            if self.mailboxes and request.step_url:
                path = urlsplit(request.step_url).path
                threading.Thread(target=self._wait, args=(self.mailboxes, name, path), daemon=True).start()
        return message

    def _wait(self, mailboxes: Mailboxes, name: str, path: str) -> None:
        done = Delivery()
        with contextlib.suppress(MailboxClosed):
            while True:
                following = asyncio.run(mailboxes.exchange(path, done))
                done = Delivery(number=done.number)
                if following is not None:
                    reply = self._work("", name, Request.model_validate_json(following.text))
                    done = Delivery(number=following.number, text=reply.text, error=reply.error)

    def _work(self, message: str, name: str, request: Request) -> RawReply:
        try:
            return RawReply(message, self.handlers[name].reply_to(request, self.transfers).model_dump_json())
        except ProtocolError as exc:
            self.refusals.append((name, str(exc)))
            return RawReply(message, error=type(exc).__name__)
        except (UploadRefused, TransferRefused) as exc:
            return RawReply(message, error=type(exc).__name__)
