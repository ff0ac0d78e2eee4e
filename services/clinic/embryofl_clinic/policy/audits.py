"""When a clinic does not take part in an audit: its counts are of training patients, and have no noise."""

from pathlib import Path

from embryofl.membership import Releases
from embryofl.messages import Request
from embryofl.secagg.threshold import MIN_CLINICS
from embryofl_clinic.policy.sent import SentLog


def reason_against_audit(request: Request, state_dir: Path, metrics: Releases, *, limits_epsilon: bool) -> str:
    """Why an audit is declined, in words that may leave the clinic; "" if it is not, or is another request.

    Parameters
    ----------
    request : Request
    state_dir : Path
    metrics : {"own", "pooled", "none"}
        The policy's.
    limits_epsilon : bool
        Whether the policy only allows differential privacy, or so much of it.
    """
    if request.work != "audit" or request.kind not in ("keys", "audit"):
        return ""
    if limits_epsilon:
        return "the clinic's policy limits epsilon, and the counts of an audit have no noise"
    if metrics == "none":
        return "the clinic releases no metrics, and so no counts of an audit (metrics = none)"
    if metrics == "pooled" and request.masking is None:
        return f"the clinic releases counts only under masks, with at least {MIN_CLINICS} clinics (metrics = pooled)"
    if not any(sent.kind == "update" and sent.run == request.run for sent in SentLog(state_dir).read()):
        return f"the clinic has trained in no round of {request.run}, and audits only what it has helped to train"
    return ""
