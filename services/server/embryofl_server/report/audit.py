"""What an audit says of a final model, from `audit.json`: how well attacks tell training patients, beside the bound."""

import time
from typing import Any

from embryofl.metrics import ScoreSums, merge
from embryofl.metrics.from_histogram import auroc_interval
from embryofl.privacy.membership import ATTACKS, epsilon_at_least, provable, rate_at
from embryofl.privacy.one_run import one_run_epsilon
from embryofl.settings import LARGEST_DELTA
from embryofl_server.report.metrics import metric
from embryofl_server.report.numbers import metric as shown
from embryofl_server.report.numbers import number

FEW = 100
"""Training patients of a clinic. With fewer, an audit cannot prove much, whatever it finds."""
NAMES = {"loss": "how well the model fits a patient", "rmia": "fit compared with reference models (RMIA)"}


def audit_of(audit: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any] | None:
    """The part `audit` of `results.json`; None without an audit.

    Parameters
    ----------
    audit : dict
        What `audit.json` holds; empty without one.
    settings : dict
        The run's.
    """
    if not audit:
        return None
    epsilon, delta = settings["dp_epsilon"], settings["dp_delta"] if settings["dp_epsilon"] else LARGEST_DELTA
    parts = [*([audit["pooled"]] if audit["pooled"] else []), *audit["own"].values()]
    attacks = {}
    for name in ATTACKS:
        sums = merge(ScoreSums.from_dict(part[name]) for part in parts if name in part)
        if sums.pooled().counts.all():
            attacks[name] = _attack(sums, delta)
    clinics = sorted({*audit["clinics"], *audit["own"]})
    results = {
        "date": time.strftime("%Y-%m-%d", time.gmtime(audit["time"])),
        "clinics": clinics,
        "own": sorted(audit["own"]),
        "declined": audit["declined"],
        "stated": {"epsilon": epsilon, "delta": delta} if epsilon else None,
        "attacks": attacks,
        "canaries": _canaries(parts, len(clinics) * settings["audit_canaries"], delta),
    }
    return {**results, "words": _words(results, audit["problem"])}


def _attack(sums: ScoreSums, delta: float) -> dict[str, Any]:
    summary, histogram = sums.summary(), sums.pooled().histogram
    others, members = (int(count) for count in sums.pooled().counts)
    return {
        "members": members,
        "others": others,
        "auroc": metric(summary.auroc, auroc_interval(summary.auroc, summary.auroc_se)),
        "tpr_at_1": rate_at(histogram, 0.01),
        "tpr_at_5": rate_at(histogram, 0.05),
        "epsilon": epsilon_at_least(histogram, delta),
        "provable": provable(members, others, delta),
    }


def _canaries(parts: list[dict[str, Any]], most: int, delta: float) -> dict[str, Any] | None:
    """What guesses of canaries prove, of which there are at most so many; None without guesses."""
    sums = merge(ScoreSums.from_dict(part["canaries"]) for part in parts if "canaries" in part)
    wrong, right = (int(count) for count in sums.pooled().counts)
    if not wrong + right:
        return None
    return {
        "canaries": most,
        "right": right,
        "wrong": wrong,
        "epsilon": one_run_epsilon(most, wrong + right, right, delta),
        "provable": one_run_epsilon(most, wrong + right, wrong + right, delta),
    }


def _words(results: dict[str, Any], problem: str) -> list[str]:
    """Sentences for people."""
    declined = [f"{name} is not in it: {why}." for name, why in results["declined"].items()]
    declined += [problem] if problem and not results["clinics"] else []
    canaries = _of_canaries(results)
    if not results["attacks"]:
        none = ["The audit has no result: no clinic gave counts, or of too few patients."] if not canaries else []
        return [*none, *canaries, *declined]
    first, stated = next(iter(results["attacks"].values())), results["stated"]
    each, names = first["members"] / len(results["clinics"]), ", ".join(results["clinics"])
    words = [
        f"Clinics attacked the final model, to tell their training patients ({first['members']}) from validation and test "
        f"patients ({first['others']}): {names}. An AUROC of 0.5 is chance.",
        *(_line(name, attack) for name, attack in results["attacks"].items()),
        f"Stated: epsilon {stated['epsilon']:g} at delta {stated['delta']:g}, for each training patient."
        if stated
        else "Stated: no epsilon. Without one there is no proven limit to what other attacks could find.",
        _proven(results),
    ]
    if each < FEW:
        words.append(
            f"{each:.0f} training patients a clinic, fewer than {FEW}, prove little: even an attack that is never wrong "
            f"would prove only an epsilon of {first['provable']:.2g} here. What is not found can still be there."
        )
    words.append(
        "Counts of an audit are of training patients and have no noise, so the stated epsilon does not cover them. Limits "
        "of rates are those of Clopper and Pearson, divided among all thresholds that were tried; they take patients as "
        "independent, and who was trained on as drawn by chance. They are read from bins of at least 30 patients, which "
        "hide what is rarer."
    )
    return [*words, *canaries, *declined]


def _line(name: str, attack: dict[str, Any]) -> str:
    rates = [
        f"{number(attack[key], 2)} at a false positive rate of {rate}"
        for key, rate in (("tpr_at_1", "1 %"), ("tpr_at_5", "5 %"))
        if attack[key] is not None
    ]
    found = f"; true positive rate {' and '.join(rates)}" if rates else ""
    few = ""
    if attack["tpr_at_1"] is None:
        few = f"; none at {'1 %' if rates else '1 % and 5 %'}, for which {attack['others']} other patients are too few"
    return f"Attack by {NAMES[name]}: AUROC {shown(attack['auroc'])}{found}{few}."


def _of_canaries(results: dict[str, Any]) -> list[str]:
    found = results["canaries"]
    if not found:
        return []
    guesses, stated = found["right"] + found["wrong"], results["stated"]
    return [
        f"Canaries: drawn embryos with random labels, {found['canaries']} in all, each in training or not by a coin. "
        f"From the final model, clinics guessed two thirds of the coins: {found['right']} of {guesses} guesses are "
        f"right (half is chance). {_found(found['epsilon'], stated, 'guesses')} The run states epsilon "
        f"{stated['epsilon']:g}; guesses that are all right would prove {found['provable']:.2g}. (One-run audit of "
        "Steinke, Nasr and Jagielski, 2023. No count of it is of patients.) A model of 17 numbers can hardly tell so many "
        "canaries apart, so that only a gross fault would show."
    ]


def _proven(results: dict[str, Any]) -> str:
    return _found(max(attack["epsilon"] for attack in results["attacks"].values()), results["stated"], "attacks")


def _found(found: float, stated: dict[str, float] | None, by: str) -> str:
    if not found:
        return f"Found: these {by} prove no epsilon above 0. That is no promise about others."
    words = f"Found: at least epsilon {found:.2g} with 95 % confidence."
    if stated and found > stated["epsilon"]:
        words += " That is more than is stated: noise or clipping are not what they should be. Stop, and find out why."
    return words
