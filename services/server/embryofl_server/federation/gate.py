"""The gate: everything a clinic sends is suspect until it has passed here.

A rejection has a short fixed reason (for counting) and a message (for the clinic and the console). How long an update may
be follows from the round itself, so it is judged when the round closes (`judge_norms`); all else is checked on arrival.
"""

import os
import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from embryofl.messages import MAX_REPLY, Reply, Request
from embryofl.metrics import ScoreSums
from embryofl.wire import Layout
from embryofl_server.federation.blobs import ExpectedUpload
from embryofl_server.members.store import Clinic

BLOCK = 1 << 16  # numbers compared at a time: they stay in a core's cache
LEAST_NORMS = 3  # a median of fewer cannot show which update is the odd one


class ReplyRejected(Exception):
    """One clinic's reply is not used; the round continues.

    Parameters
    ----------
    reason : str
        One of a fixed set: malformed, wrong_run, wrong_layout, clinic_refused, suspended, no_upload, wrong_digest,
        wrong_size, not_finite, examples, metrics, masking, bad_letter; and norm, when the round closes.
    message : str
        What was found and expected.
    accused : str, optional
        See `ExcludedReply`.
    """

    def __init__(self, reason: str, message: str, accused: str = "") -> None:
        super().__init__(message)
        self.reason, self.accused = reason, accused

    @property
    def fault(self) -> bool:
        """Whether the reply itself is wrong, rather than blocked by the clinic's policy or by a suspension, or without an
        update because of another clinic, or so it says."""
        return self.reason not in ("clinic_refused", "suspended", "bad_letter")


@dataclass(frozen=True)
class AcceptedReply:
    """A reply that passed the gate.

    Attributes
    ----------
    norm : float
        Euclidean distance of the update from the global model; 0 if the update is masked.
    """

    reply: Reply
    validation: ScoreSums | None
    test: ScoreSums | None
    update: Path | None
    norm: float


def parse(text: str, request: Request) -> Reply:
    """A reply that has the agreed form and belongs to this request."""
    if not text:
        raise ReplyRejected("malformed", "the reply has no text")
    if len(text) > MAX_REPLY:
        raise ReplyRejected("malformed", f"the reply has {len(text)} characters, at most {MAX_REPLY} are allowed")
    try:
        reply = Reply.model_validate_json(text)
    except ValidationError as exc:
        fields = sorted({".".join(map(str, e["loc"])) for e in exc.errors()})
        raise ReplyRejected("malformed", f"the reply's fields {fields[:5]} do not have the agreed form") from None
    if reply.protocol != request.protocol:
        raise ReplyRejected(
            "malformed", f"the reply is of protocol {reply.protocol}, the request of {request.protocol}"
        )
    if (reply.run, reply.round, reply.kind) != (request.run, request.round, request.kind):
        raise ReplyRejected(
            "wrong_run",
            f"the reply is for {reply.kind} in round {reply.round} of {reply.run}, the request was for {request.kind} in "
            f"round {request.round} of {request.run}",
        )
    if reply.refused:
        raise ReplyRejected("clinic_refused", reply.refused)
    if reply.layout != request.layout:
        raise ReplyRejected(
            "wrong_layout", f"the reply's model layout is {reply.layout}, the run's is {request.layout}"
        )
    return reply


def check(
    reply: Reply, request: Request, clinic: Clinic, upload: ExpectedUpload | None, layout: Layout, packed: np.ndarray
) -> AcceptedReply:
    """Check a parsed reply and, for training, its uploaded update against the global model `packed`. A masked update is
    only compared with its announced size and digest.

    Raises
    ------
    ReplyRejected
    """
    if clinic.state != "enrolled":
        raise ReplyRejected("suspended", f"the clinic is {clinic.state}")
    validation, test = _sums(reply.validation, clinic), _sums(reply.test, clinic)
    for sums in reply.personal.values():
        _sums(sums, clinic)
    for name, counts in reply.audit.items():
        _sums(counts, clinic, request.settings.audit_canaries if name == "canaries" else None)
    graded = max((a.embryos for by_target in reply.grades.values() for a in by_target.values()), default=0)
    if clinic.most_embryos is not None and graded > clinic.most_embryos:
        raise ReplyRejected("metrics", f"grades of {graded} embryos, but {_approved(clinic)}")
    if reply.masking is not None and reply.masking.accused:
        accused = reply.masking.accused
        raise ReplyRejected("bad_letter", f"it cannot open the letter of {accused}, or says so", accused)
    most, trains = clinic.most_embryos, request.kind in ("keys", "train")
    if trains and (reply.examples < 1 or (most is not None and reply.examples + _count(validation) > most)):
        raise ReplyRejected(
            "examples",
            f"{reply.examples} training and {_count(validation)} validation embryos, but {_approved(clinic)}",
        )
    if not request.upload_url:
        return AcceptedReply(reply, validation, test, None, 0.0)
    if reply.update is None or upload is None:
        raise ReplyRejected("no_upload", "the reply came without its uploaded update")
    if reply.update.sha256 != upload.sha256:
        raise ReplyRejected("wrong_digest", "the uploaded update does not match the SHA-256 in the reply")
    norm = 0.0 if request.masking is not None else distance(upload.path, layout, packed)
    return AcceptedReply(reply, validation, test, upload.path, norm)


def judge_norms(
    norms: dict[str, float], before: list[float], clip: float, bound: float
) -> tuple[dict[str, float], dict[str, str]]:
    """Which updates of a closed round are used, and how they are scaled.

    Parameters
    ----------
    norms : dict of str to float
        Norm of each clinic's update.
    before : list of float
        Norms accepted in the round before; used only if this round has fewer than `LEAST_NORMS`.
    clip, bound : float
        Multiples of the median norm: longer updates are scaled down to `clip`, and rejected beyond `bound`. 0 = off.

    Returns
    -------
    scales : dict of str to float
        Of each update that is used: 1, or less if it is clipped.
    rejected : dict of str to str
        The others, each with a message.
    """
    sample = list(norms.values()) if len(norms) >= LEAST_NORMS else [*norms.values(), *before]
    median = statistics.median(sample) if len(sample) >= LEAST_NORMS else 0.0
    if not median > 0:
        return dict.fromkeys(norms, 1.0), {}
    scales, rejected = {}, {}
    for name, norm in norms.items():
        if bound and norm > bound * median:
            rejected[name] = (
                f"its update is {norm / median:.3g} times as long as the round's median ({median:.3g}); at most {bound:g} "
                "times is allowed (norm_bound)"
            )
        else:
            scales[name] = min(1.0, clip * median / norm) if clip and norm else 1.0
    return scales, rejected


def _approved(clinic: Clinic) -> str:
    confirmed = clinic.labelled if clinic.approved is None else clinic.approved
    return (
        f"{confirmed} labelled images were approved, and at most a fifth more are used. If its data has grown: "
        f"embryofl-server approve {clinic.name} --images NUMBER"
    )


def _count(sums: ScoreSums | None) -> int:
    return (sums.summary().n or 0) if sums else 0


def _sums(values: dict[str, object] | None, clinic: Clinic, canaries: int | None = None) -> ScoreSums | None:
    """`canaries`: they are sums over at most so many canaries, and not over embryos."""
    if values is None:
        return None
    try:
        sums = ScoreSums.from_dict(values)
    except ValueError as exc:
        raise ReplyRejected("metrics", f"the metrics do not have the agreed form: {exc}") from None
    count, most = _count(sums), clinic.most_embryos
    if canaries is not None and count > canaries:
        raise ReplyRejected("metrics", f"guesses of {count} canaries, but the run has {canaries} at a clinic")
    if canaries is None and most is not None and count > most:
        raise ReplyRejected("metrics", f"metrics over {count} embryos, but {_approved(clinic)}")
    return sums


def distance(update: Path, layout: Layout, packed: np.ndarray) -> float:
    """Euclidean distance of the packed model in a file from `packed`, over all float tensors, in one pass over the file.
    Its relative error is below 1e-5: blocks are summed in the tensors' own precision, their sums in float64.

    Raises
    ------
    ReplyRejected
        When the file has another layout, or a number in it is not finite.
    """
    size, total = update.stat().st_size, 0.0
    # Read, not memory-mapped, so that memory in use stays predictable.
    with update.open("rb", buffering=0) as file:
        if size != layout.size or file.read(len(layout.header)) != layout.header:
            reason = "wrong_size" if size != layout.size else "wrong_layout"
            raise ReplyRejected(reason, f"the update has {size} bytes, expected {layout.size} bytes of this layout")
        for section, old in zip(layout.sections, layout.section_views(packed), strict=True):
            if section.dtype.kind != "f":
                file.seek(section.end - section.begin, os.SEEK_CUR)
                continue
            buffer = np.empty(min(BLOCK, old.size), section.dtype)
            for at in range(0, old.size, BLOCK):
                part = old[at : at + BLOCK]
                new = buffer[: part.size]
                file.readinto(new.view(np.uint8).data)
                total += _squared_distance(new, part)
    if not np.isfinite(total):
        raise ReplyRejected("not_finite", "the update has numbers that are not finite")
    return float(np.sqrt(total))


def _squared_distance(new: np.ndarray, old: np.ndarray) -> float:
    if new.dtype.itemsize >= 4:
        with np.errstate(over="ignore", invalid="ignore"):
            difference = new - old
            total = float(np.dot(difference, difference))
        if np.isfinite(total):
            return total
    wide = new.astype(np.float64) - old  # half precision, or too large to be squared in its own
    return float(np.dot(wide, wide))
