"""Clinics that a hub may ask anything: the real request handler, with the real workload of `lite0_head` on embeddings."""

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import torch

from embryofl import packing
from embryofl.masked_update import update_bound, vector_length
from embryofl.messages import MaskingRequest, Reply, Request
from embryofl.metrics import ScoreSums
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
from embryofl_demo.local_fleet import OneWorkload
from embryofl_server.federation.gate import AcceptedReply
from embryofl_server.federation.masking.attempt import Attempt, Opening
from embryofl_server.federation.step import Step
from kits.label_attack import of_reply
from kits.pictures import Floats, Pictures

RUN = RunSettings(model="lite0_head", rounds=2)


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
