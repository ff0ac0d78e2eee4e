"""A run as a paper reports it: its methods in sentences with what they cite, and the flow of its embryos."""

import re
import tomllib
from pathlib import Path
from typing import Any

from embryofl.models import FACTS
from embryofl_server.report.pages import html

_TEXTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
_CITES: dict[str, list[str]] = _TEXTS["cites"]
REFERENCES: dict[str, str] = {
    match[1]: line
    for line in Path(__file__).with_name("references.bib").read_text("utf-8").splitlines()
    if (match := re.match(r"@\w+\{(\w+),", line))
}
"""BibTeX entries by key."""

Results = dict[str, Any]
_OPTIMISERS = {"adamw": "AdamW", "sgd": "SGD"}


def report(card: Results, results: Results) -> str:
    """The report of a run as one HTML page: methods, flow of embryos, references, and the model card's sections.

    Parameters
    ----------
    card : dict
        What `model-card.json` holds.
    results : dict
        What `results.json` holds.
    """
    sentences, cited = methods(card, results)
    references = [REFERENCES[key] for key in cited]
    return html(card, results, {"methods": sentences, "flow": flow(card, results), "references": references})


def methods(card: Results, results: Results) -> tuple[list[str], list[str]]:
    """The sentences, and the keys that they cite as [1], [2] and so on, in that order."""
    settings = card["settings"]
    cited: list[str] = []

    def say(name: str, cites: list[str] | None = None, **values: Any) -> str:
        keys = _CITES.get(name, []) if cites is None else cites
        cited.extend(key for key in keys if key not in cited)
        numbers = ", ".join(str(cited.index(key) + 1) for key in keys)
        return str(_TEXTS[name].format(cite=f" [{numbers}]" if keys else "", **values))

    strategy = _TEXTS["strategies"][settings["strategy"]]
    model, facts = settings["model"], FACTS.get(settings["model"])
    words = facts.words.removesuffix(" The default.") if facts else ""
    network = [key for start, keys in _TEXTS["models"].items() if model.startswith(start) for key in keys]
    trained = {
        **settings,
        "strategy": strategy["words"],
        "rounds": _count(card["made"]["rounds"], "round"),
        "schedule": _TEXTS["schedule"][settings["schedule"]],
        "epochs": _count(settings["local_epochs"], "local epoch"),
        "optimiser": _OPTIMISERS[settings["optimiser"]],
    }
    sentences = [
        say("design", clinics=_count(len(card["data"]["clinics"]), "clinic")),
        say("label", label=card["label"]["words"]),
        say("model", network, **settings, parameters=card["made"]["parameters"], words=words),
        say("training", strategy["cites"], **trained),
    ]
    if settings["masked_weights"]:
        sentences.append(say("masked"))
    if settings["dp_epsilon"]:
        sentences.append(say("private", epsilon=settings["dp_epsilon"], delta=settings["dp_delta"]))
    if settings["audit_canaries"]:
        sentences.append(say("canaries", count=settings["audit_canaries"]))
    sentences += [
        say("final", which=_TEXTS["which"][settings["choose"]]),
        say("calibration" if card["calibration"] else "uncalibrated", rule=card["threshold"]["rule"]),
        say("measures"),
    ]
    if results["external"]:
        names = {name for one in results["external"]["validations"] for name in (*one["own"], *one["together"])}
        sentences.append(say("external", clinics=", ".join(sorted(names))))
    return [*sentences, say("reporting")], cited


def flow(card: Results, results: Results) -> list[tuple[str, str]]:
    """From clinics to test embryos, for STARD's and TRIPOD's flow diagram: what, and how many."""
    clinics = card["data"]["clinics"]
    labels = {key: [day[key] for c in clinics for day in c["images"].values()] for key in ("1", "0", "unlabelled")}
    rows = [
        ("clinics that took part", str(len(clinics))),
        ("patients with images, as reported on joining", _sum([c["patients"] for c in clinics])),
        ("images with label 1, with label 0, unlabelled", ", ".join(_sum(counts) for counts in labels.values())),
        ("training images of a round, at most", _sum([c["training"] for c in clinics])),
    ]
    splits = [(split, results["splits"][split]["pooled"]["all"]) for split in ("validation", "test")]
    if results["external"]:
        splits.append(("external validation", results["external"]["pooled"]["all"]))
    return [*rows, *((f"{name} embryos (label 1)", f"{found['n']} ({found['positives']})") for name, found in splits)]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _sum(counts: list[str]) -> str:
    """The sum of counts as text; small ones, which are given as `<5`, make it a lower bound."""
    known = [int(count) for count in counts if count.isdigit()]
    if not counts or not known:
        return "not reported"
    return f"{'at least ' if len(known) < len(counts) else ''}{sum(known)}"
