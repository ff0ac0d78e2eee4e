"""What a reader of the figures has to be warned of."""

from collections.abc import Iterator
from typing import Any

from embryofl_server.report import shortcuts

OUTCOMES = ("implantation", "live_birth")
LEAK_AUROC = 0.85
"""Outcome models honestly reach 0.6 to 0.7; above this the outcome is told by something else until shown otherwise."""
WIDE_INTERVAL = 0.20
"""An AUROC is not said to be known when its 95 % interval is wider."""
PAST_BEST = 0.03
"""A final model so far below the best round's, on validation patients, has been trained past it."""

Warned = dict[str, str]


def warnings(results: dict[str, Any]) -> list[Warned]:
    """Warnings, those first that put the figures in doubt.

    Parameters
    ----------
    results : dict
        What `results.json` holds.

    Returns
    -------
    list of dict
        `kind`, `level` (``stop``: do not use the figures before this is settled; ``warn``), and `words`.
    """
    found = [
        *_incomplete(results),
        *_leak(results),
        *_shortcuts(results),
        *_calibration(results),
        *_few(results),
        *_rounds(results),
    ]
    return sorted(found, key=lambda w: w["level"] != "stop")


def _make(kind: str, level: str, words: str) -> Warned:
    return {"kind": kind, "level": level, "words": words}


def _incomplete(results: dict[str, Any]) -> Iterator[Warned]:
    if results["incomplete"]:
        yield _make("incomplete", "stop", results["incomplete"])
    test = results["splits"]["test"]["pooled"]["all"]
    if not test["n"] and not results["incomplete"]:
        yield _make("no_test", "stop", "Nothing is known of this model on held-out patients.")
    if results["refused"]:
        yield _make(
            "missing_clinics",
            "warn",
            "These figures leave out: "
            + ", ".join(f"{name} ({why})" for name, why in sorted(results["refused"].items()))
            + ".",
        )


def _leak(results: dict[str, Any]) -> Iterator[Warned]:
    if results["meaning"] not in OUTCOMES:
        return
    test = results["splits"]["test"]
    high = [
        f"{name}, {'all days' if day == 'all' else f'day {day}'}: {f['auroc']['value']:.2f}"
        for name, days in {"all clinics": test["pooled"], **test["clinics"]}.items()
        for day, f in days.items()
        if f["auroc"] and f["auroc"]["value"] > LEAK_AUROC
    ]
    if high:
        yield _make(
            "leak",
            "stop",
            f"AUROC above {LEAK_AUROC} on an outcome ({results['meaning'].replace('_', ' ')}) is a leak until shown "
            f"otherwise; found {'; '.join(high[:5])}. Look for what tells the outcome besides the embryo: text or marks in "
            "the picture, another device or day for embryos that were transferred, one patient on two sides of the split.",
        )


def _shortcuts(results: dict[str, Any]) -> Iterator[Warned]:
    for kind, found in results["splits"]["test"]["shortcuts"].items():
        if shortcuts.explained(found):
            yield _make(
                f"shortcut_{kind}",
                "warn",
                f"The {kind} explains part of the score: {shortcuts.words(kind, found)} Judge the model by the figures "
                f"within each {kind}.",
            )


def _calibration(results: dict[str, Any]) -> Iterator[Warned]:
    test = results["splits"]["test"]["pooled"]["all"]
    if not test["n"]:
        return
    if results["calibration"] is None:
        yield _make(
            "not_calibrated",
            "warn",
            "There were too few validation embryos of a class to learn a calibration and a threshold: scores are an order, "
            "not probabilities, and the threshold is 0.5.",
        )
    found = test["after"] or test["before"]
    slope, large = found["slope"], found["in_the_large"]
    if slope and not slope["interval"][0] <= 1 <= slope["interval"][1]:
        much = "too extreme" if slope["value"] < 1 else "too timid"
        yield _make(
            "calibration",
            "warn",
            f"Calibration is off on held-out patients: scores are {much} (calibration slope "
            f"{_words(slope)}, expected 1).",
        )
    if large and not large["interval"][0] <= 0 <= large["interval"][1]:
        much = "too high" if large["value"] < 0 else "too low"
        yield _make(
            "calibration",
            "warn",
            f"Calibration is off on held-out patients: scores are {much} on average "
            f"(calibration in the large {_words(large)}, expected 0).",
        )


def _few(results: dict[str, Any]) -> Iterator[Warned]:
    test = results["splits"]["test"]
    pooled = test["pooled"]["all"]
    interval = (pooled["auroc"] or {}).get("interval")
    if interval and interval[0] <= 0.5:
        yield _make(
            "chance", "warn", f"AUROC {_words(pooled['auroc'])}: that it is no better than chance cannot be ruled out."
        )
    wide = [
        name
        for name, days in {"all clinics": test["pooled"], **test["clinics"]}.items()
        for a in [days["all"]["auroc"]]
        if a and a["interval"] and a["interval"][1] - a["interval"][0] > WIDE_INTERVAL
    ]
    if wide:
        yield _make(
            "wide",
            "warn",
            f"There are few held-out embryos, so that AUROC is known to no better than "
            f"{WIDE_INTERVAL:g} for {', '.join(wide)}.",
        )
    held = [name for name, days in test["clinics"].items() if any(f["withheld"] for f in days.values())]
    if held:
        yield _make(
            "withheld",
            "warn",
            f"Days with too few embryos of a class are not released and are missing in all figures: {', '.join(held)}.",
        )


def _rounds(results: dict[str, Any]) -> Iterator[Warned]:
    best, last = results["best_validation"], results["splits"]["validation"]["pooled"]["all"]["auroc"]
    if best and last and best["auroc"] - last["value"] > PAST_BEST:
        yield _make(
            "past_best",
            "warn",
            f"The model of round {best['round']} was better on validation patients (AUROC "
            f"{best['auroc']:.3f}) than this one of round {results['round']} ({last['value']:.3f}).",
        )


def _words(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    return f"{figure['value']:.2f} ({low:.2f} to {high:.2f})"
