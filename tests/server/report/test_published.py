"""The public results contain no result of a hidden clinic, and none from which one could be derived."""

import functools
import io
import itertools
import json
import time
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError
from rich.console import Console

from embryofl.metrics import ScoreSums, merge
from embryofl.settings import RunSettings
from embryofl_server.cli import show_results
from embryofl_server.members.store import Clinic
from embryofl_server.report.card import model_card
from embryofl_server.report.published import LEAST, published
from embryofl_server.report.summary import summarise
from kits.enrolment import ask_status, enrolment, join

NAMES = ("anna", "bert", "cleo", "dora", "ella")


def clinic_sums(seed: int, days: tuple[int, ...] = (5,)) -> dict[str, Any]:
    """Sums of a clinic with 120 embryos on each day."""
    rng = np.random.default_rng(seed)
    parts = []
    for day in days:
        labels = (rng.random(120 + seed) < 0.4).astype(int)
        scores = 1 / (1 + np.exp(-rng.normal(1.5 * labels - 0.7, 1.0)))
        parts.append(ScoreSums.from_scores(scores, labels, np.full(len(labels), day), np.arange(len(labels)) // 5))
    return merge(parts).suppress().to_dict()


def results_of(days: dict[str, tuple[int, ...]]) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """`model.json`, the rounds' records and `results.json` of a run of the named clinics."""
    sums = {n: clinic_sums(i, d) for i, (n, d) in enumerate(days.items())}
    grade = {"expansion": {"embryos": 40, "exact": 20, "distance": 30}}
    evaluation = {
        n: {
            "validation": s,
            "test": s,
            "personal": {"validation": s, "test": s},
            "grades": {"validation": {}, "test": grade},
        }
        for n, s in sums.items()
    }
    record = {
        "run": "run-0002",
        "round": 1,
        "sha256": "0" * 64,
        "settings": RunSettings(personal="model", seed=2).model_dump(),
        "parameters": 5,
        "releases": dict.fromkeys(evaluation, "own"),
        "evaluation": evaluation,
        "pooled": {},
        "spent": [],
        "best_validation": None,
        "calibration": None,
        "use": "Research use only",
    }
    clinics = {
        n: {"examples": 90, "train_loss": 0.6, "norm": 1.0, "distance": 0.5, "validation": s} for n, s in sums.items()
    }
    records: list[dict[str, Any]] = [{"round": 1, "clinics": clinics}]
    first = summarise({**record, "run": "run-0001", "settings": RunSettings(personal="model").model_dump()}, records)
    results = summarise(record, records, [{**first, "date": "2026-01-01"}])
    assert results["across_runs"]["seeds"] and results["personal"]["splits"]["test"]["clinics"].keys() == days.keys()
    return record, records, results


@functools.cache
def uneven() -> dict[str, Any]:
    """Results of clinics with different days."""
    return results_of({"anna": (3, 5), "bert": (5,), "cleo": (3, 5), "dora": (5,), "ella": (5, 6)})[2]


@functools.cache
def even() -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """Results of clinics that all have the same day."""
    return results_of(dict.fromkeys(NAMES, (5,)))


def clinics(names: tuple[str, ...], shown: tuple[str, ...]) -> dict[str, Clinic]:
    summary = {"counts": {"5": {"1": 777, "0": 60, "unlabelled": 0}}, "patients": 20}
    return {n: Clinic(n, "k", "enrolled", 0.0, "quality", {**summary, "shows_metrics": n in shown}) for n in names}


def counted(results: dict[str, Any]) -> list[tuple[str, int]]:
    """Every shown count of embryos, per clinic and pooled, by split and day, and of the rounds."""
    out = []
    personal = {f"personal {split}": parts for split, parts in results["personal"]["splits"].items()}
    for split, parts in {**results["splits"], **personal}.items():
        for name, days in {"pooled": parts["pooled"], **parts["clinics"]}.items():
            out += [(f"{split} {name} {day}", f["n"]) for day, f in days.items()]
    for run in results["across_runs"]["over_time"]:
        out += [(f"{run['run']} {n} {day}", f["n"]) for n, days in run["figures"].items() for day, f in days.items()]
    for entry in results["rounds"]:
        out += [(f"round {n}", f["n"]) for n, f in {"pooled": entry["pooled"], **entry["clinics"]}.items()]
    return out


@pytest.mark.parametrize("shown", [s for k in range(5) for s in itertools.combinations(NAMES, k)], ids="-".join)
def test_hidden_results_do_not_follow_from_shown_ones(shown):
    """No sum or difference of shown counts gives the embryos of a single hidden clinic, on any day."""
    results = uneven()
    public = published(results, clinics(NAMES, shown))
    hidden = set(NAMES) - set(shown)
    names = set(public["splits"]["test"]["clinics"])
    assert names <= set(shown) and not names & set(public["held_back"])
    hidden_counts = {n: {d: f["n"] for d, f in results["splits"]["test"]["clinics"][n].items()} for n in hidden}
    test = public["splits"]["test"]
    for day, pooled in test["pooled"].items():
        rest = pooled["n"] - sum(f[day]["n"] for f in test["clinics"].values() if day in f)
        assert rest in (0, pooled["n"]) or sum(day in days for days in hidden_counts.values()) >= LEAST or day == "all"
        for n in hidden:
            assert rest != hidden_counts[n].get(day) and pooled["n"] != hidden_counts[n].get(day), (day, n)
    for days_of in hidden_counts.values():
        assert not set(days_of.values()) & {count for _, count in counted(public)}
    text = json.dumps(public)
    for n in hidden:
        auroc = json.dumps(results["splits"]["test"]["clinics"][n]["all"]["auroc"])
        assert "interval" in auroc and auroc not in text and n not in public["rounds"][0]["training"]
        assert n not in public["across_runs"]["seeds"]["figures"]


def test_hidden_clinics_count_in_pooled_results_and_enough_hidden_ones_show_the_others():
    _, _, results = even()
    three_hidden = published(results, clinics(NAMES, ("anna", "bert")))
    assert set(three_hidden["splits"]["test"]["clinics"]) == {"anna", "bert"}
    assert three_hidden["held_back"] == ["cleo", "dora", "ella"]
    assert three_hidden["splits"]["test"]["pooled"] == results["splits"]["test"]["pooled"]
    assert set(three_hidden["grades"]["test"]) == {"anna", "bert", "pooled"}
    first_round = three_hidden["rounds"][0]
    assert set(first_round["clinics"]) == set(first_round["training"]) == {"anna", "bert"}
    two_hidden = published(results, clinics(NAMES, ("anna", "bert", "cleo")))
    assert two_hidden["splits"]["test"]["clinics"] == {} and two_hidden["held_back"] == list(NAMES)
    for public, names in ((three_hidden, {"anna", "bert", "pooled"}), (two_hidden, {"pooled"})):
        across = public["across_runs"]
        assert (
            set(across["seeds"]["figures"]) == names and [set(r["figures"]) for r in across["over_time"]] == [names] * 2
        )
        assert set(public["personal"]["splits"]["test"]["clinics"]) == names - {"pooled"}
    none_hidden = published(results, clinics(NAMES, NAMES))
    assert none_hidden["held_back"] == [] and none_hidden["splits"] == results["splits"]


def test_federation_of_one_hidden_clinic_publishes_no_results():
    record, records, results = results_of({"anna": (5,)})
    public = published({**results, "calibration": {"threshold": 0.4}}, clinics(("anna",), ()))
    assert {n for _, n in counted(public)} == {0} and public["rounds"] == [] and public["calibration"] is None
    card = model_card(record, public, records, clinics(("anna",), ()), public["held_back"])
    assert card["figures"]["clinics"] == {} and "anna" in card["held_back"]["words"]


def test_public_card_names_a_hidden_clinic_without_counts_of_its_data():
    record, records, results = even()
    members = clinics(NAMES, ("anna", "bert"))
    public = published(results, members)
    card = model_card(record, public, records, members, public["held_back"])
    rows = {c["clinic"]: c for c in card["data"]["clinics"]}
    assert set(rows) == set(NAMES) and rows["anna"]["images"]["5"]["1"] == "777" and rows["cleo"]["rounds"] == 1
    assert rows["cleo"]["images"] == {} and rows["cleo"]["training"] == rows["cleo"]["test"]["embryos"] == "-"
    assert "cleo, dora, ella" in card["held_back"]["words"]


def test_coordinator_sees_every_clinic_and_which_results_are_hidden():
    _, _, results = even()
    console = Console(file=io.StringIO(), width=200)
    console.print(show_results.results_text({**results, "held_back": ["cleo"]}))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\ncleo " in text and "For the coordinator only: results of single clinics that hide them: cleo" in text


# -- a clinic's choice ------------------------------------------------------------------------------------------------------
def test_metrics_are_hidden_by_default_and_latest_choice_wins(hub):
    """A replayed opt-in does not undo a later opt-out; an opt-out always counts."""
    key = ec.generate_private_key(ec.SECP384R1())
    join(hub, "anna", key=key)

    def after(shows: bool, asked: float) -> bool:
        hub.membership.status(ask_status(key, "anna", asked, shows=shows))
        return hub.store.clinics()["anna"].shows_metrics

    now = time.time()
    assert not after(False, now) and after(True, now)
    assert not after(False, 1.5) and not after(True, now - 1000) and after(True, now)
    lines = map(json.loads, (hub.settings.state_dir / "audit.jsonl").read_text().splitlines())
    assert [e["shows_metrics"] for e in lines if e["event"] == "showing_changed"] == [True, False, True]
    forged = ask_status(key, "anna", now, shows=False).model_copy(update={"shows": True})
    with pytest.raises(Exception, match="does not recognise"):
        hub.membership.status(forged)


def test_choice_on_joining_must_be_true_or_false(hub):
    secret = hub.membership.invite("anna").secret
    with pytest.raises(ValidationError, match="neither true nor false"):
        enrolment("anna", secret, summary={"shows_metrics": "yes"})
    hub.membership.enrol(enrolment("anna", secret, summary={"shows_metrics": True}))
    assert hub.store.clinics()["anna"].shows_metrics
