"""The page Runs: choose, see the estimated cost, start; pause, resume, stop; compare runs."""

import functools
import math
import statistics
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Query, Request, Response

from embryofl.errors import UserError
from embryofl_console.context import Fields, PageContext, State, curves
from embryofl_console.form import GROUPS, OWN, PRESETS, collected, filled, usual
from embryofl_console.texts import texts

MOST_COMPARED = 5
_T = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)  # Student's, 95 %, by degrees of freedom
t = texts.runs
OUTCOMES = {"pause": t.pausing, "continue": t.resuming, "stop": t.stopping}


def routes(context: PageContext) -> APIRouter:
    """The pages and what they post."""
    router = APIRouter()

    @functools.cache  # an error is not kept
    def known() -> State:
        asked: State = context.get("offers")
        return asked

    def offers() -> State:
        """The hub's models, strategies and defaults; none while it is unreachable, as the page says."""
        try:
            return known()
        except UserError:
            return {"models": [], "strategies": [], "defaults": {}}

    def page(request: Request, fields: State, status: int = 200, **values: Any) -> Response:
        given = {"cost": None, "error": "", "like": "", "preset": "", "form": form(offers(), fields), **values}
        return context.show(request, "runs", status=status, live="/runs", **given)

    @router.get("/runs")
    def runs(request: Request, preset: str = "", like: str = "") -> Response:
        """`like`: a run whose settings the form begins with."""
        try:
            settings = context.get("runs", like, "outline")["settings"] if like else PRESETS.get(preset, {})
        except UserError as exc:
            return page(request, {}, 400, error=str(exc))
        return page(request, filled(settings, offers()["defaults"]), like=like, preset=preset)

    @router.post("/runs/note")
    def note(request: Request, fields: Fields) -> Response:
        path = f"runs/{quote(fields.get('run', ''), safe='')}/note"
        return context.act(request, "/runs", path, {"note": fields.get("note", "")})

    @router.post("/runs/estimate")
    def estimate(request: Request, fields: Fields) -> Response:
        fields = fitted(offers(), fields)
        try:
            cost = context.client.call("POST", "/control/estimate", {"settings": collected(fields)})
        except UserError as exc:
            return page(request, fields, 400, error=str(exc))
        return page(request, fields, cost=cost)

    @router.post("/runs/start")
    def start(request: Request, fields: Fields) -> Response:
        try:
            run = context.client.call("POST", "/control/runs", {"settings": collected(fields)})
        except UserError as exc:
            return page(request, fields, 400, error=str(exc))
        context.follower.poll()
        if waits := run.get("waits"):  # for a second person
            return context.done(request, "/", waits, "warn")
        return context.done(request, "/runs", texts.new_run.started.format(name=run["name"]))

    @router.post("/runs/{action}")
    def steer(action: str, request: Request, fields: Fields) -> Response:
        if action not in OUTCOMES:
            raise HTTPException(404)
        if action == "stop" and fields.get("sure", "").lower() != t.stop_word:
            return context.done(request, "/runs", t.not_stopped, "bad")
        return context.act(request, "/runs", action, {"run": fields.get("run", "")}, OUTCOMES[action])

    @router.get("/compare")
    def compare(request: Request, run: Sequence[str] = Query((), max_length=MOST_COMPARED)) -> Response:
        chosen = sorted(set(run))
        shown: dict[str, Any] = {"runs": [], "error": ""}
        try:
            if len(chosen) > 1:
                shown = compared([context.get("runs", name, "outline") for name in chosen])
        except UserError as exc:
            shown["error"] = str(exc)
        return context.show(
            request, "compare", texts.compare.title, here="runs", chosen=chosen, **{"error": "", **shown}
        )

    return router


def _offer(offers: State, kind: str, name: str) -> State:
    """One model or strategy."""
    return next((x for x in offers[kind] if x["name"] == name), {})


def fitted(offers: State, fields: dict[str, str]) -> dict[str, str]:
    """The fields, with the local epochs that suit a model that was just chosen."""
    model = _offer(offers, "models", fields.get("model", ""))
    if model and fields.get("model_before") != model["name"]:
        fields = {**fields, "local_epochs": str(int(model["recipe"]["local_epochs"]))}
    return {**fields, "model_before": fields.get("model", "")}


def form(offers: State, fields: State) -> dict[str, Any]:
    """What the form shows: what there is to choose, the chosen, and fields for the strategy's own settings."""
    values = {**usual(offers), **fields}
    strategy = _offer(offers, "strategies", values["strategy"])
    own = [
        (f"{OWN}{s['name']}", s["name"], values.get(f"{OWN}{s['name']}", s["default"]))
        for s in strategy.get("settings", [])
    ]
    return {
        **{kind: [(x["name"], x["name"]) for x in offers[kind]] for kind in ("models", "strategies")},
        "groups": GROUPS,
        "given": values,
        "model": _offer(offers, "models", values["model"]),
        "strategy": strategy,
        "own": own,
        "defaults": {k: v for k, v in offers["defaults"].items() if not isinstance(v, dict)},
    }


def compared(runs: list[State]) -> dict[str, Any]:
    """Two or more runs (outlines, as the control API gives them): settings that differ, final metrics, curves."""
    keys = [k for k in runs[0]["settings"] if len({repr(r["settings"].get(k)) for r in runs}) > 1]
    finals = [r["final"]["test"] if r["final"] else {} for r in runs]
    clinics = ["pooled", *sorted({name for final in finals for name in final} - {"pooled"})]
    metrics = [
        (key, clinic, values)
        for key in ("auroc", "auprc", "brier", "ece")
        for clinic in (clinics if key == "auroc" else ["pooled"])
        if any(values := [(final.get(clinic) or {}).get(key) for final in finals])
    ]
    settings = [(k, [_value(r["settings"].get(k)) for r in runs]) for k in keys]
    pairs = [(run["name"], paired(finals[0], final)) for run, final in zip(runs[1:], finals[1:], strict=True)]
    shown = {"runs": runs, "settings": settings, "metrics": metrics, "pairs": [(n, d) for n, d in pairs if d]}
    return {**shown, "charts": curves({r["name"]: r["curve"] for r in runs})}


def paired(first: State, other: State) -> State | None:
    """The mean over clinics of the difference of their AUROC, each clinic's own patients with one model and the other,
    with Student's 95 % interval; None for fewer than two clinics with both."""
    names = [n for n in sorted(first.keys() & other.keys() - {"pooled"}) if first[n]["auroc"] and other[n]["auroc"]]
    gains = [other[n]["auroc"]["value"] - first[n]["auroc"]["value"] for n in names]
    if len(gains) < 2:
        return None
    mean, free = statistics.fmean(gains), len(gains) - 1
    factor = _T[free - 1] if free <= len(_T) else 1.96 + 2.6 / free
    by = factor * statistics.stdev(gains) / math.sqrt(len(gains))
    return {"value": mean, "interval": [mean - by, mean + by], "clinics": len(gains)}


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}={v}" for k, v in value.items()) or "-"
    return "-" if value == "" else str(value)
