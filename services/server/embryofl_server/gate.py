"""The gate: everything a clinic sends is suspect until it has passed here.

A refusal has a short fixed reason (for counting) and words (for the clinic and the console).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from embryofl.messages import MAX_REPLY, Reply, Request
from embryofl.metrics import ScoreSums
from embryofl.wire import Layout, WireError
from embryofl_server.aggregate import BLOCK
from embryofl_server.blobs import Ticket
from embryofl_server.store import Clinic


class Refusal(Exception):
    """One clinic's reply is not taken; the round goes on.

    Parameters
    ----------
    reason : str
        One of a fixed set: malformed, wrong_run, wrong_layout, clinic_refused, no_upload, wrong_digest, wrong_size,
        not_finite, examples, metrics.
    words : str
        What was found and expected.
    """

    def __init__(self, reason: str, words: str) -> None:
        super().__init__(words)
        self.reason = reason


@dataclass(frozen=True)
class Accepted:
    """A reply that passed. `norm` is the Euclidean distance of the update from the global model."""

    reply: Reply
    validation: ScoreSums | None
    test: ScoreSums | None
    update: Path | None
    norm: float


def parse(text: str, request: Request) -> Reply:
    """A reply that has the agreed form and answers this request."""
    if len(text) > MAX_REPLY:
        raise Refusal("malformed", f"the reply has {len(text)} characters, at most {MAX_REPLY} are taken")
    try:
        reply = Reply.model_validate_json(text)
    except ValidationError as exc:
        fields = sorted({".".join(map(str, e["loc"])) for e in exc.errors()})
        raise Refusal("malformed", f"the reply's fields {fields[:5]} are not of the agreed form") from None
    if (reply.run, reply.round, reply.kind) != (request.run, request.round, request.kind):
        raise Refusal(
            "wrong_run",
            f"the reply is for {reply.kind} in round {reply.round} of {reply.run}, asked was {request.kind} in round "
            f"{request.round} of {request.run}",
        )
    if reply.refused:
        raise Refusal("clinic_refused", reply.refused)
    if reply.layout != request.layout:
        raise Refusal("wrong_layout", f"the reply's model layout is {reply.layout}, the run's is {request.layout}")
    return reply


def check(
    reply: Reply, request: Request, clinic: Clinic, ticket: Ticket | None, layout: Layout, packed: np.ndarray
) -> Accepted:
    """Check a parsed reply and, for training, its uploaded update against the global model `packed`.

    Raises
    ------
    Refusal
    """
    validation, test = _sums(reply.validation, clinic), _sums(reply.test, clinic)
    if request.kind == "evaluate":
        return Accepted(reply, validation, test, None, 0.0)
    most = clinic.labelled
    if reply.examples < 1 or (most is not None and reply.examples > most):
        raise Refusal("examples", f"{reply.examples} training examples, enrolled were {most} labelled embryos")
    if reply.update is None or ticket is None:
        raise Refusal("no_upload", "the reply came without its uploaded update")
    if reply.update.sha256 != ticket.sha256:
        raise Refusal("wrong_digest", "the uploaded update does not match the SHA-256 in the reply")
    return Accepted(reply, validation, test, ticket.path, _distance(ticket.path, layout, packed))


def _sums(values: dict[str, object] | None, clinic: Clinic) -> ScoreSums | None:
    if values is None:
        return None
    try:
        sums = ScoreSums.from_dict(values)
    except ValueError as exc:
        raise Refusal("metrics", f"the metrics are not of the agreed form: {exc}") from None
    count, most = sums.summary().n or 0, clinic.labelled
    if most is not None and count > most:
        raise Refusal("metrics", f"metrics over {count} embryos, enrolled were {most} labelled ones")
    return sums


def _distance(update: Path, layout: Layout, packed: np.ndarray) -> float:
    """Check layout and finiteness and return the distance, in one pass over the file."""
    mapped = np.memmap(update, np.uint8, "r")
    try:
        layout.check(mapped)
    except WireError as exc:
        raise Refusal(
            str(exc), f"the update has {mapped.size} bytes, expected were {layout.size} of this layout"
        ) from exc
    total = 0.0
    for new, old in zip(layout.section_views(mapped), layout.section_views(packed), strict=True):
        if new.dtype.kind != "f":
            continue
        for at in range(0, new.size, BLOCK):
            difference = new[at : at + BLOCK].astype(np.float64) - old[at : at + BLOCK]
            total += float(np.dot(difference, difference))
    if not np.isfinite(total):
        raise Refusal("not_finite", "the update holds numbers that are not finite")
    return float(np.sqrt(total))
