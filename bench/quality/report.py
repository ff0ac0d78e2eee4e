"""Turn the jobs' results into tables in Markdown."""

import json
from collections import defaultdict
from pathlib import Path

import datasets
import numpy as np
from jobs import POOLED

from embryofl_demo.intervals import Estimate, Scored, estimate, sampled, stack

TITLES = {
    "day5": "Hung Vuong, day 5, three clinics",
    "day3": "Hung Vuong, day 3, three clinics",
    "synthetic": "Synthetic, five clinics",
}
BAR = 0.02
Results = dict[str, dict[int, dict]]


def read(folder: Path) -> dict[tuple[str, str], Results]:
    """Results by (data, model), then by way and fold."""
    results: dict[tuple[str, str], Results] = defaultdict(lambda: defaultdict(dict))
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text())
        results[result["data"], result["model"]][result["way"]][result["fold"]] = result
    return results


def tables(folder: Path) -> str:
    """One table for each data set and model that has its baselines."""
    results = read(folder)
    parts = []
    for data in datasets.names():
        for model in ("lite0", "lite0_head", "small_cnn"):
            if of_model := results.get((data, model)):
                parts.append(_table(data, model, of_model))
    return "\n\n".join(parts)


def _table(data: str, model: str, results: Results) -> str:
    clinics = sorted(next(iter(results[POOLED].values()))["test"]) if POOLED in results else []
    head = f"### {TITLES[data]}: `{model}`\n"
    if not clinics:
        return head + "\nNot run."
    alone = {c: own_choice(results, c) for c in clinics}
    pooled = _samples(results[POOLED], clinics)
    rows = [["", *clinics, "all clinics", "less than pooled", "bar"]]
    rows.append(
        ["embryos held out (good)", *(_counts(results, [c]) for c in clinics), _counts(results, clinics), "", ""]
    )
    rows.append(["**alone**", *(_one(estimate(alone[c])) for c in clinics), "", "", ""])
    rows.append(["*alone, the better one*", *(_one(estimate(better_budget(results, c))) for c in clinics), "", "", ""])
    rows.append(
        [
            "**pooled**",
            *(_one(estimate(_samples(results[POOLED], [c]))) for c in clinics),
            _one(estimate(pooled)),
            "",
            "",
        ]
    )
    federated = [w for w in results if w != POOLED and not w.startswith("alone")]
    for way in sorted(federated, key=lambda w: (w != "fednova", w != "fedavg", w)):
        for label, key in ((way, "test"), (f"{way}, personal", "personal")):
            folds = {f: r for f, r in results[way].items() if r.get(key)}
            same = key == "test" and any(r.get("personal") for r in folds.values())  # the global model is fedavg's
            if folds and not (same and way.split()[0] != "fedbn" and "fedavg" in results):
                rows.append(_row(label, folds, key, clinics, alone, pooled))
    return head + "\n" + "\n".join(_line(r, i) for i, r in enumerate(rows)) + "\n\n" + _missing(results)


def _row(
    label: str, folds: dict[int, dict], key: str, clinics: list[str], alone: dict[str, np.ndarray], pooled: np.ndarray
) -> list[str]:
    gains = [estimate(_samples(folds, [c], key) - alone[c]) for c in clinics]
    all_ = _samples(folds, clinics, key)
    gap = estimate(pooled - all_)
    if not np.isfinite([g.value for g in gains]).all() or len(folds) < datasets.FOLDS:
        return [label, *map(_difference, gains), _one(estimate(all_)), _difference(gap), "not all was run"]
    worst = min(g.value for g in gains)
    verdict = (
        "met"
        if worst >= 0 and gap.value <= BAR
        else "; ".join(
            (
                [f"{-worst:.3f} short of alone at {clinics[int(np.argmin([g.value for g in gains]))]}"]
                if worst < 0
                else []
            )
            + ([f"{gap.value:.3f} below pooled"] if gap.value > BAR else [])
        )
    )
    return [label, *map(_difference, gains), _one(estimate(all_)), _difference(gap), verdict]


def _samples(folds: dict[int, dict], clinics: list[str], key: str = "test") -> np.ndarray:
    """Samples of the mean AUROC over folds, on the embryos of these clinics together."""
    return sampled({f: stack([_scored(r[key][c]) for c in clinics]) for f, r in folds.items()})


def _scored(lists: dict[str, list]) -> Scored:
    return Scored(np.array(lists["scores"]), *(np.array(lists[k], np.int64) for k in ("labels", "strata", "patients")))


BUDGETS = ("alone", "alone-long")  # as many epochs as the federation, as many steps as the pooled training


def own_choice(results: Results, clinic: str) -> np.ndarray:
    """Samples of a clinic's local model: in each fold, the budget with the better validation AUROC, or else the first."""
    short, long = (results.get(f"{budget} {clinic}", {}) for budget in BUDGETS)
    if min(len(short), len(long)) < datasets.FOLDS:
        return np.full(1, np.nan)
    chosen = {f: long[f] if _validated(long[f]) > _validated(short[f]) else short[f] for f in short}
    return _samples(chosen, [clinic])


def _validated(result: dict) -> float:
    auroc = result.get("own_validation")
    return 0.0 if auroc is None else float(auroc)


def better_budget(results: Results, clinic: str) -> np.ndarray:
    """Samples of the budget that is better on the test embryos, which no clinic can know. `own_choice` chooses in each fold
    and can still be better."""
    tried = [results.get(f"{budget} {clinic}", {}) for budget in BUDGETS]
    if min(map(len, tried)) < datasets.FOLDS:
        return np.full(1, np.nan)
    return max((_samples(folds, [clinic]) for folds in tried), key=lambda s: s[0])


def _counts(results: Results, clinics: list[str]) -> str:
    labels = [x for r in results[POOLED].values() for c in clinics for x in r["test"][c]["labels"]]
    return f"{len(labels)} ({sum(labels)})"


def _one(f: Estimate) -> str:
    return f"{f.value:.3f} ({f.low:.2f} to {f.high:.2f})" if np.isfinite(f.value) else "not run"


def _difference(f: Estimate) -> str:
    return f"{f.value:+.3f} ({f.low:+.2f} to {f.high:+.2f})" if np.isfinite(f.value) else "not run"


def _line(cells: list[str], number: int) -> str:
    line = "| " + " | ".join(cells) + " |"
    return line + "\n|" + "---|" * len(cells) if number == 0 else line


def _missing(results: Results) -> str:
    short = [f"{w} ({len(f)} of {datasets.FOLDS} folds)" for w, f in results.items() if len(f) < datasets.FOLDS]
    minutes = sum(r["seconds"] for f in results.values() for r in f.values()) / 60
    return f"{minutes:.0f} core-minutes." + (f" Not complete: {', '.join(short)}." if short else "")
