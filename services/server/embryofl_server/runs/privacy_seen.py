"""What a run with `dp_epsilon` promises: one sentence for everybody and one for experts, wherever updates are spoken of."""

from collections.abc import Mapping
from typing import Any

from embryofl.privacy.accountant import epsilon_of
from embryofl.settings import RunSettings


def privacy_seen(settings: Mapping[str, Any], done: int | None = None) -> str:
    """About a run of these settings; "" without `dp_epsilon`.

    Parameters
    ----------
    settings : mapping
        Of `RunSettings`, checked.
    done : int, optional
        Rounds that are complete: what they have spent is said, too.
    """
    if not settings["dp_epsilon"]:
        return ""
    run = RunSettings.model_validate(settings)
    helper = (
        "the noise is whole for the hub, for readers of the model, and for one clinic that helps them"
        if run.masked_weights
        else "each clinic adds all of the noise, because updates have no masks: with "
        f"{run.min_clinics} clinics {run.min_clinics**0.5:.2g} times as much as one sum would need"
    )
    words = (
        "Noise hides whether any one patient was trained on, up to a limit that is proven and spent in this run (epsilon "
        f"{run.dp_epsilon:g}: the smaller, the stricter); it does not cover the results on validation and test patients. "
        f"For experts: ({run.dp_epsilon:g}, {run.dp_delta:g})-differential privacy of all {run.rounds} rounds for each "
        "training patient (left out and counted as nothing; numbers of patients are public; without patients in a "
        "clinic's table, for each embryo), by Gaussian noise on full-batch steps clipped by patient; "
        f"{helper}. Not counted: metrics, threshold and calibration, the division into training, validation and test "
        "patients, and what clinics sent on joining."
    )
    if run.audit_canaries:
        words += (
            f" Each clinic trains with {run.audit_canaries} canaries, too: drawn embryos with random labels, each "
            "by a coin, for an audit to guess. They count as no patients and change nothing of what is promised to them. "
            "They cost accuracy: with 50 at each of three clinics of about 44 patients, and epsilon 8, the AUROC fell from "
            "0.752 to 0.686."
        )
    if done is not None and done < run.rounds:
        spent = epsilon_of(run.private_mu * done**0.5, run.dp_delta)
        words += f" Spent after {done} of {run.rounds} rounds: epsilon {spent:.2g}."
    return words
