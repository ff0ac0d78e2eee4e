"""What a reader of the results has to be warned of; the texts are in `texts.toml`."""

from collections.abc import Iterator
from typing import Any

from embryofl.texts import load_texts
from embryofl_server.report import shortcuts
from embryofl_server.report.numbers import clinic_label, day_label, signed

TEXTS = load_texts(__package__)
OUTCOMES = ("implantation", "live_birth")
LEAK_AUROC = 0.85
"""Outcome models honestly reach 0.6 to 0.7. Above this, something else reveals the outcome until shown otherwise."""
WIDE_INTERVAL = 0.20
"""An AUROC with a wider 95 % interval counts as unknown."""
PAST_BEST = 0.03
"""A final model this far below the best round's, on validation patients, was trained for too long."""

Warned = dict[str, str]
Results = dict[str, Any]


def warnings(results: Results) -> list[Warned]:
    """Warnings, the most serious first.

    Parameters
    ----------
    results : dict
        What `results.json` holds.

    Returns
    -------
    list of dict
        `kind`, `level` (``stop``: do not use the results before this is settled; ``warn``), and `words`.
    """
    rules = (_incomplete, _leak, _shortcuts, _calibration, _few, _rounds)
    return sorted((w for rule in rules for w in rule(results)), key=lambda w: w["level"] != "stop")


def no_test_results(results: Results) -> Warned:
    """Why there are no results on test patients, if there are none and the run is complete."""
    kept = results["releases"] and "own" not in results["releases"].values()
    return _make("not_released" if kept else "no_test", level="stop")


def _make(kind: str, /, *, text: str = "", level: str = "warn", **values: Any) -> Warned:
    return {"kind": kind, "level": level, "words": TEXTS.warning[text or kind].format(**values)}


def _everybody(results: Results) -> dict[str, Any]:
    """Results on test patients of all clinics together, then of each."""
    test = results["splits"]["test"]
    return {clinic_label("pooled"): test["pooled"], **test["clinics"]}


def _incomplete(results: Results) -> Iterator[Warned]:
    if results["incomplete"]:
        yield _make("incomplete", level="stop", reason=results["incomplete"])
    elif not results["splits"]["test"]["pooled"]["all"]["n"]:
        yield no_test_results(results)
    if results["refused"]:
        clinics = ", ".join(f"{name} ({why})" for name, why in sorted(results["refused"].items()))
        yield _make("missing_clinics", clinics=clinics)


def _leak(results: Results) -> Iterator[Warned]:
    if results["meaning"] not in OUTCOMES:
        return
    high = [
        f"{name}, {'all days' if day == 'all' else f'day {day_label(day)}'}: {f['auroc']['value']:.2f}"
        for name, days in _everybody(results).items()
        for day, f in days.items()
        if f["auroc"] and f["auroc"]["value"] > LEAK_AUROC
    ]
    if high:
        outcome = results["meaning"].replace("_", " ")
        yield _make("leak", level="stop", limit=LEAK_AUROC, outcome=outcome, values="; ".join(high[:5]))


def _shortcuts(results: Results) -> Iterator[Warned]:
    for kind, areas in results["splits"]["test"]["shortcuts"].items():
        if shortcuts.explained(areas):
            shown = {key: f"{areas[key]:.2f}" for key in ("all", "within", "alone")}
            yield _make(f"shortcut_{kind}", text="shortcut", kind=kind, **shown)


def _calibration(results: Results) -> Iterator[Warned]:
    test = results["splits"]["test"]["pooled"]["all"]
    if not test["n"]:
        return
    if results["calibration"] is None:
        yield _make("not_calibrated")
    scores = test["after"] or test["before"]
    for key, ideal, low, high in (
        ("slope", 1, "too extreme", "not extreme enough"),
        ("in_the_large", 0, "too high", "too low"),
    ):
        value = scores[key]
        if value and not value["interval"][0] <= ideal <= value["interval"][1]:
            how = low if value["value"] < ideal else high
            yield _make("calibration", text=f"calibration_{key}", how=how, value=signed(value))


def _few(results: Results) -> Iterator[Warned]:
    test = results["splits"]["test"]
    pooled = test["pooled"]["all"]["auroc"]
    if pooled and pooled["interval"] and pooled["interval"][0] <= 0.5:
        yield _make("chance", auroc=signed(pooled))
    aurocs = {name: days["all"]["auroc"] for name, days in _everybody(results).items()}
    intervals = {name: auroc["interval"] for name, auroc in aurocs.items() if auroc and auroc["interval"]}
    if wide := [name for name, (low, high) in intervals.items() if high - low > WIDE_INTERVAL]:
        yield _make("wide", width=WIDE_INTERVAL, clinics=", ".join(wide))
    if withheld := [name for name, days in test["clinics"].items() if any(f["withheld"] for f in days.values())]:
        yield _make("withheld", clinics=", ".join(withheld))


def _rounds(results: Results) -> Iterator[Warned]:
    best, last = results["best_validation"], results["splits"]["validation"]["pooled"]["all"]["auroc"]
    if best and last and best["auroc"] - last["value"] > PAST_BEST:
        values = {"best": best["round"], "best_auroc": best["auroc"], "round": results["round"], "auroc": last["value"]}
        yield _make("past_best", **values)
