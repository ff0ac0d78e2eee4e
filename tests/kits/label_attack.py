"""A hub that chooses the models and wants to know the label of one picture that it holds, by the metrics that clinics release.

A clinic is the real request handler with the real workload of `lite0_head`, on embeddings: drawn ones here, those of real
pictures in `bench/privacy`. The attacker aims the head at the picture by linear algebra, and decodes what comes back with a
classifier that knows population and rules: fitted on some tries, measured on others (shadow models: Shokri et al., IEEE S&P
2017). The label is a coin's, so that 0.5 is chance.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from embryofl import packing
from embryofl.masked_update import update_bound, vector_length
from embryofl.messages import MaskingRequest, Reply, Request
from embryofl.metrics import BINS, CENTRES, DaySums, ScoreSums
from embryofl.metrics.bins import logit
from embryofl.metrics.day import MAX_LOG_LOSS
from embryofl.metrics.from_histogram import auroc
from embryofl.pooled_metrics import BOUND, LENGTH, Split, from_vector
from embryofl.schema import Download
from embryofl.secagg.fixed_point import Ring
from embryofl.secagg.messages import Terms, digest
from embryofl.settings import RunSettings
from embryofl_clinic.exporter import TrainerMetrics
from embryofl_clinic.joining.identity import ClinicIdentity
from embryofl_clinic.masking.attempt import Masking
from embryofl_clinic.policy.rules import Policy
from embryofl_clinic.workload.embryo import EmbryoWorkload
from embryofl_clinic.workload.request_handler import RequestHandler
from embryofl_data.dataset import ImageExamples
from embryofl_demo.local_fleet import OneWorkload
from embryofl_server.federation.gate import AcceptedReply
from embryofl_server.federation.masking.attempt import Attempt, Opening
from embryofl_server.federation.step import Step

Floats = npt.NDArray[np.float64]

RUN = RunSettings(model="lite0_head", rounds=2)
FEATURES, EMBRYOS, PUBLIC = 1280, 40, 120


class Pictures(Protocol):
    """Where clinics and attacker have their embeddings from."""

    rng: np.random.Generator

    def train(self) -> ImageExamples:
        """The next clinic's training embryos."""

    def validation(self) -> ImageExamples:
        """The next clinic's validation embryos."""

    def public(self) -> tuple[Floats, Floats]:
        """The attacker's own pictures: embeddings (n, 1280), and labels less their mean (n,)."""


class Population:
    """Drawn embeddings: a spectrum that falls as that of real ones does, and a direction in which the labels differ. A clinic
    has so many validation embryos of one day."""

    def __init__(self, seed: int, embryos: int = EMBRYOS, day: int = 5) -> None:
        self._embryos, self._day = embryos, day
        self.rng = np.random.default_rng(seed)
        self._basis = self.rng.normal(size=(60, FEATURES)) / np.sqrt(np.arange(1, 61))[:, None]
        self._good = self.rng.normal(size=FEATURES)

    def draw(self, n: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Embeddings of mean 0 and variance 1, as `Lite0Head.embed` gives them, float32 (n, 1280), and labels."""
        labels = self.rng.integers(0, 2, n)
        e = self.rng.normal(size=(n, 60)) @ self._basis + 0.5 * self.rng.normal(size=(n, FEATURES))
        e += 0.6 * (labels - 0.5)[:, None] * self._good
        e = (e - e.mean(axis=1, keepdims=True)) / e.std(axis=1, keepdims=True)
        return e.astype(np.float32), labels

    def train(self) -> ImageExamples:
        """See `Pictures`."""
        return examples(*self.draw(EMBRYOS), self._day)

    def validation(self) -> ImageExamples:
        """See `Pictures`."""
        return examples(*self.draw(self._embryos), self._day)

    def public(self) -> tuple[Floats, Floats]:
        """See `Pictures`."""
        e, labels = self.draw(PUBLIC)
        return e.astype(np.float64), labels - labels.mean()


class HeadWorkload(EmbryoWorkload):
    """`EmbryoWorkload` of `lite0_head` on embeddings in memory; validation and test patients are the same."""

    def __init__(self, run: RunSettings, pictures: Pictures, folder: Path) -> None:
        train, validation = pictures.train(), pictures.validation()
        self.data: Any = SimpleNamespace(train=train, validation=validation, test=validation)
        self.personal_dir = folder / "personal"
        self._make_model(run, "cpu", None)

    def label(self, embryo: int, label: int) -> None:
        """Give an embryo another label."""
        self.data.validation.labels[embryo] = label


def examples(embeddings: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], day: int = 5) -> ImageExamples:
    """Embryos of one day with one embedding each."""
    each = np.arange(len(labels))
    return ImageExamples(embeddings, each, labels, np.full(len(labels), day), each, each)


class HostileTransfers:
    """Hands the clinic the hub's model and keeps what it uploads."""

    def __init__(self, path: Path) -> None:
        self.model, self.path, self.broken = np.zeros(0, np.uint8), path, False

    def download(self, wanted: Download, deadline: float) -> np.ndarray:
        return self.model

    def upload(self, url: str, data: np.ndarray, deadline: float) -> dict[str, Any]:
        if self.broken:
            raise OSError("broken")
        data.tofile(self.path)
        return {"size": data.size, "sha256": "a" * 64}


class Clinic:
    """One clinic with a policy, given as the lines of `policy.toml`."""

    def __init__(self, name: str, folder: Path, policy: str, pictures: Pictures, run: RunSettings = RUN) -> None:
        self.state, self.run = folder / name, run
        self.state.mkdir()
        (self.state / "policy.toml").write_text(policy)
        self.workload, self.transfers = HeadWorkload(run, pictures, self.state), HostileTransfers(self.state / "upload")
        self._identity = ClinicIdentity(self.state / "identity")
        self.key, self.name = self._identity.public_key, name
        self.pictures = self.workload.data.validation.pixels.astype(np.float64)
        self.handler = self.make_handler()

    def make_handler(self) -> RequestHandler:
        """The clinic's process: what it knows is on disk."""
        return RequestHandler(
            OneWorkload(self.workload),
            Policy(self.state, "quality", self.name),
            TrainerMetrics(self.name),
            self.state,
            Masking(self.state, self._identity),
        )

    def ask(
        self,
        kind: str,
        number: int,
        round_: int,
        weights: Floats,
        offset: float,
        masking: MaskingRequest | None = None,
        model: str = "",
        settings: RunSettings | None = None,
    ) -> Reply:
        """The reply to a request in run `number`, with a head of these weights; `model`: what is said of its SHA-256."""
        head = {"head.weight": torch.tensor(weights[None], dtype=torch.float32), "head.bias": torch.tensor([offset])}
        self.transfers.model = packing.pack(head, self.workload.layout)
        request = self.request(kind, number, round_, masking, model, settings)
        return self.handler.reply_to(request, self.transfers)

    def request(
        self,
        kind: str,
        number: int,
        round_: int,
        masking: MaskingRequest | None = None,
        model: str = "",
        settings: RunSettings | None = None,
    ) -> Request:
        """A request in run `number`, with its settings or others; `model`: what is said of its SHA-256."""
        layout = self.workload.layout
        return Request.model_validate(
            {
                "kind": kind,
                "run": f"run-{number:04d}",
                "round": round_,
                "clinic": self.name,
                "settings": settings or self.run,
                "layout": layout.id,
                "model": {"url": "/v1/model/x", "size": layout.size, "sha256": model or f"{number:064x}"},
                "upload_url": "/v1/update/x" if kind in ("train", "evaluate", "audit") else "",
                "masking": masking,
                "deadline": 1e12,
            }
        )


def masked(
    clinics: Sequence[Clinic],
    kind: Literal["train", "evaluate", "audit"],
    number: int,
    round_: int,
    weights: Floats,
    offset: float,
    attempt: int = 1,
    model: str = "",
    settings: RunSettings | None = None,
) -> tuple[list[Reply], Ring | None]:
    """All steps of an attempt in run `number`: every reply, of `kind` the third of each clinic, and the sum; None once a clinic
    refuses, whose reply is the last."""
    run, layout, training = settings or clinics[0].run, clinics[0].workload.layout, kind == "train"
    terms = Terms(
        run=f"run-{number:04d}",
        round=round_,
        kind=kind,
        attempt=attempt,
        model=model or f"{number:064x}",
        work=digest(run),
        length=vector_length(layout) if training else LENGTH,
        bound=update_bound(run, round_, layout, math.inf) if training else BOUND,
    )
    steps = Attempt(terms, run, {clinic.name: clinic.key for clinic in clinics}, {})
    replies: list[Reply] = []

    def goes_on(step_kind: str, step: Step) -> bool:
        for clinic in clinics:
            replies.append(clinic.ask(step_kind, number, round_, weights, offset, step.ask(clinic.name), model, run))
            if replies[-1].refused:
                return False
            step.take(clinic.name, AcceptedReply(replies[-1], None, None, clinic.transfers.path, 0.0))
        return True

    if not goes_on("keys", steps.keys()):
        return replies, None
    steps.close_rosters()
    if not goes_on("letters", steps.letters()):
        return replies, None
    steps.close_letters()
    if not goes_on(kind, steps.vectors()):
        return replies, None
    opening = Opening(*steps.close({}))
    if not goes_on("survivors", opening.confirmed()) or not goes_on("shares", opening.shares()):
        return replies, None
    ((_, total),) = opening.sums()
    return replies, total


def summed(
    clinics: Sequence[Clinic],
    number: int,
    weights: Floats,
    offset: float,
    attempt: int = 1,
    model: str = "",
    kind: Literal["evaluate", "audit"] = "evaluate",
) -> dict[Split, ScoreSums]:
    """What the hub learns of clinics that release pooled metrics: their sum, after all steps of an attempt in run `number`."""
    replies, total = masked(clinics, kind, number, clinics[0].run.rounds, weights, offset, attempt, model)
    assert total is not None, replies[-1].refused
    assert not any(of_reply(reply) for reply in replies)
    return from_vector(total)


class Aims:
    """Heads that tell one picture from the public ones.

    Parameters
    ----------
    pictures : Pictures
        The attacker's own ones are taken from it.
    """

    def __init__(self, pictures: Pictures) -> None:
        public, labels = pictures.public()
        self._mean = public.mean(axis=0)
        _, s, self._vt = np.linalg.svd(public - self._mean, full_matrices=False)
        self._spread = s**2 / len(public)
        honest = labels @ (public - self._mean)
        self._honest = honest / ((public - self._mean) @ honest).std()
        other = pictures.rng.normal(size=len(s)) @ self._vt
        self._other = other / ((public - self._mean) @ other).std()

    def head(self, shape: str, picture: Floats) -> tuple[Floats, float]:
        """Weights (1280,) and offset: the picture alone above one half, or on top of another ranking."""
        floor = float(np.median(self._spread))
        d = picture - self._mean
        a = d @ self._vt.T
        aim = (a / (self._spread + floor)) @ self._vt + (d - a @ self._vt) / floor
        aim /= aim @ d
        w, b = {
            "alone": (400 * aim, -200.0),
            "top": (0.7 * self._other + 8 * aim, -1.0),
            "sure": (1.2 * self._honest + 8 * aim, -1.0),
            "wide": (2.5 * self._other + 8 * aim, -1.0),
        }[shape]
        return w, float(b - w @ self._mean)

    def two_heads(self, picture: Floats) -> Iterator[tuple[Floats, float]]:
        """Weights and offsets of two heads that give everybody a score of 0 or 1, the same ones, but for the picture: it lies on
        the boundary, and a tilt of a thousandth moves it from 0 to 1."""
        aim, off = self.head("alone", picture)
        aim, off = aim / 400, (off + 200) / 400  # 1 for the picture, about 0 for others
        across = self._other - (self._other @ (picture - self._mean)) * aim
        for tilt in (-1e3, 1e3):
            yield 1e6 * across + tilt * aim, float(-1e6 * (across @ self._mean) + tilt * off)


def features(sums: DaySums) -> list[float]:
    """What the attacker looks at in released sums."""
    h = sums.histogram.astype(np.float64)
    if not h.sum():
        return []
    n = np.maximum(h.sum(axis=1), 1)
    filled = np.flatnonzero(h.sum(axis=0))
    at = np.concatenate([filled[::-1][:3], np.full(3, filled[-1])])[:3]
    total = np.cumsum(h[:, ::-1], axis=1)
    upto = min(int(np.searchsorted(total.sum(axis=0), 15)), BINS - 1)
    z = logit(CENTRES)
    loss = sums.log_loss / MAX_LOG_LOSS
    return [
        *h[:, at].T.reshape(-1),
        h[1, at[0]] / max(h[:, at[0]].sum(), 1),
        *h[:, filled[0]],
        *total[:, upto],
        *h[:, BINS // 2 :].sum(axis=1),
        auroc(sums.histogram)[0] or 0.5,
        *(h @ z / n),
        *z[at[:2]],
        *h.sum(axis=1),
        *loss,
        *(loss - n),
        *sums.squared_error,
        *(sums.squared_error - n),
    ]


METRICS = {"train_loss", "validation", "test", "personal", "grades", "audit"}
NO_METRICS = {
    *("protocol", "kind", "run", "round", "layout", "refused", "update", "examples"),
    *("seconds", "device", "memory_bytes", "reconnects", "masking"),
}
"""Of a reply. Another part must be named in one of these: what it tells of an embryo has to be read, too."""


def of_reply(reply: Reply) -> list[float]:
    """The same of everything that a reply says of metrics."""
    assert set(Reply.model_fields) == METRICS | NO_METRICS and not reply.grades
    seen = [] if reply.train_loss is None else [reply.train_loss]
    every = (reply.validation, reply.test, *reply.personal.values(), *reply.audit.values())
    return [*seen, *(x for s in every if s is not None for x in features(ScoreSums.from_dict(s).pooled()))]


def decoder(seen: Floats, truth: npt.NDArray[np.int64]) -> tuple[float, Any]:
    """A classifier fitted on tries, and how often it is right by cross-validation: linear or a forest, whichever is better.

    Parameters
    ----------
    seen : ndarray of float64, (n, k)
        Of each try what was released.
    truth : ndarray of int64, (n,)
        0 or 1.
    """
    forest = RandomForestClassifier(50, min_samples_leaf=5, random_state=0)
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=300))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rated = [(float(cross_val_score(m, seen, truth, cv=3).mean()), m) for m in (linear, forest)]
        rating, best = max(rated, key=lambda r: r[0])
        return rating, best.fit(seen, truth)


def label_accuracy(seen: Sequence[Sequence[float]], coins: Sequence[int]) -> float:
    """How often the label of a picture is told, on the half of the tries that the decoder was not fitted on.

    Parameters
    ----------
    seen : sequence of sequence of float
        Of each try what was released; all of the same length.
    coins : sequence of int
        The labels.
    """
    x, y, half = np.asarray(seen, np.float64), np.asarray(coins), len(coins) // 2
    if not x.shape[1]:
        return 0.5  # nothing was released: the attacker tosses a coin as well
    return float((decoder(x[:half], y[:half])[1].predict(x[half:]) == y[half:]).mean())
