"""The page Results: the metrics of a run that has ended, its model card, downloads."""

import base64
import functools
import hashlib
import re
from collections.abc import Iterator
from mimetypes import guess_type
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from markupsafe import Markup

from embryofl.charts import Axis, fitted, interval, scale
from embryofl.errors import UserError
from embryofl.result_charts import margin, of_results
from embryofl_console.context import SITE, Fields, PageContext, State, curves
from embryofl_console.form import CLINIC
from embryofl_console.pages.clinics import day_name
from embryofl_console.texts import texts
from embryofl_web.site import stylesheet

KEPT = 4  # runs whose results are kept here, for looking at one clinic after the other
RUN = r"^run-[0-9]{4,9}$"
CALIBRATION = (("slope", 2), ("in_the_large", 2), ("ece", 3), ("brier", 3))  # with digits
RANKING = ("ndcg", "tau", "critical")
_STYLE = re.compile(r"<style[^>]*>(.*?)</style>", re.S)


def routes(context: PageContext) -> APIRouter:
    """The page, the model card, downloads."""
    router, style = APIRouter(), Markup(stylesheet())  # noqa: S704 - our own file

    @functools.lru_cache(KEPT)  # they change with the run's state alone; an error is not kept
    def results_at(name: str, since: float) -> State:
        results: State = context.get("runs", name, "results")
        return results

    def results_of(name: str) -> State:
        state = context.follower.now()[1] or {"runs": []}
        return results_at(name, next((r["since"] for r in state["runs"] if r["name"] == name), 0.0))

    @router.get("/results")
    def results(
        request: Request, run: str = "", split: str = "test", clinic: str = "pooled", day: str = "all"
    ) -> Response:
        state = context.follower.now()[1]
        names = [r["name"] for r in reversed((state or {"runs": []})["runs"]) if r["results"]]
        name = run or (names[0] if names else "")
        shown: dict[str, Any] = {"results": None, "error": "", "others": []}
        try:
            if name:
                found = results_of(name)
                shown |= seen(name, found, split, clinic, day)
                shown["others"] = others(found, state)
        except UserError as exc:
            shown["error"] = str(exc)
        return context.show(request, "results", names=[(n, n) for n in names], run=name, **shown)

    @router.post("/results/validate")
    def validate(request: Request, fields: Fields) -> Response:
        clinics = [name.removeprefix(CLINIC) for name in fields if name.startswith(CLINIC)]
        run = fields.get("run", "")
        address = f"/results?run={quote(run, safe='')}"
        return context.act(request, address, "validate", {"run": run, "clinics": clinics}, texts.external.started)

    @router.get("/results/file")
    def file(
        run: Annotated[str, Query(pattern=RUN)], split: str = "test", clinic: str = "pooled", day: str = "all"
    ) -> Response:
        """The page as one file, to be passed on or printed: it loads nothing, and no script is in it."""
        given: State = {"trouble": "", "note": None, "error": "", "names": [], "others": [], "style": style}
        shown = seen(run, results_of(run), split, clinic, day)
        page = SITE.show("results", run=run, entered=False, **given, **shown)
        page.headers["Content-Disposition"] = f'attachment; filename="{run}-results.html"'
        return page

    @router.get("/card")
    def card(run: Annotated[str, Query(pattern=RUN)]) -> Response:
        path = f"/control/runs/{quote(run, safe='')}/files/model-card.html"
        page = context.client.ask("GET", path).text
        return HTMLResponse(
            page, headers={"Content-Security-Policy": card_policy(page), "X-Frame-Options": "SAMEORIGIN"}
        )

    @router.get("/download/{run}/{name}")
    def download(run: Annotated[str, Path(pattern=RUN)], name: str) -> Response:
        """As an attachment and never as a page: the card's HTML is shown in a sandboxed frame."""
        if name not in texts.file:
            return PlainTextResponse(texts.access.no_file.format(names=", ".join(texts.file)), 404)
        try:
            length, chunks = context.client.stream(f"/control/runs/{run}/files/{name}")
        except UserError as exc:
            return PlainTextResponse(str(exc), 404)
        headers = {"Content-Disposition": f'attachment; filename="{run}-{name}"'}
        media = guess_type(name)[0] or "application/octet-stream"
        return StreamingResponse(chunks, media_type=media, headers=headers | length)

    return router


def card_policy(page: str) -> str:
    """The policy of the model card as a page in a frame: no script runs, nothing is sent; only its own style is used."""
    styles = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in _STYLE.findall(page)]
    allowed = " ".join(f"'sha256-{digest}'" for digest in styles) or "'none'"
    return f"sandbox; default-src 'none'; style-src {allowed}; img-src data:; base-uri 'none'; frame-ancestors 'self'"


def seen(name: str, results: State, split: str, clinic: str, day: str) -> dict[str, Any]:
    """What the template shows of a run's results (`results.json`)."""
    split = split if split in texts.split else "test"
    of_split = results["splits"][split]
    chosen = (of_split["pooled"] if clinic == "pooled" else of_split["clinics"].get(clinic, {})).get(day)
    charts = Markup(of_results(chosen) if chosen and chosen["n"] else "")  # noqa: S704 - its texts are escaped
    if charts and clinic == "pooled" and day == "all":
        rounds = [(r["round"], r["pooled"]) for r in results["rounds"]]
        charts += curves({texts.common.all_clinics: [(n, p["auroc"], p["loss"], margin(p)) for n, p in rounds]})
    return {
        "results": results,
        "split": split,
        "clinic": clinic,
        "day": day,
        "address": urlencode({"run": name, "split": split, "clinic": clinic, "day": day}),
        "headline": headline(chosen) if chosen and chosen["n"] and chosen["auroc"] else None,
        "forest": forest(of_split),
        "choices": {"clinic": clinics(results), "day": days(results)},
        "rows": [(who, day_name(its), of_day) for who, its, of_day in _rows(of_split)],
        "rankings": [(who, of_day["ranking"]) for who, its, of_day in _rows(of_split) if its == "all"],
        "grades": results["grades"][split],
        "chosen": chosen,
        "whose": whose(clinic),
        "day_shown": day_name(day),
        "charts": charts,
        "columns": {"calibration": CALIBRATION, "ranking": RANKING},
    }


def headline(chosen: State) -> State:
    """The AUROC of the chosen embryos on a scale, and how often in 100 it puts label 1 first."""
    auroc, axis = chosen["auroc"], Axis("", 0.5, 1.0, (0.5, 0.75, 1.0))
    low, high = auroc["interval"] or [auroc["value"]] * 2
    drawn = interval(auroc["value"], low, high, axis) + scale(axis)
    return {"auroc": auroc, "drawn": Markup(drawn), "of": round(100 * auroc["value"])}  # noqa: S704 - numbers alone


def forest(of_split: State) -> State:
    """AUROC per clinic and day on one scale: `days` by name, `scale`, and `rows` of whose, embryos, and per day the drawing
    and the metric, or whether it is withheld."""
    everyone = {"pooled": of_split["pooled"], **of_split["clinics"]}
    names = sorted({d for by_day in everyone.values() for d in by_day}, key=lambda d: (d != "all", d))
    found = [a for by_day in everyone.values() for r in by_day.values() if (a := r["auroc"]) and a["interval"]]
    axis = fitted("", [], low=min([0.5, *(a["interval"][0] for a in found)]), high=1.0)

    def cell(result: State | None, day: str) -> State:
        auroc = result["auroc"] if result else None
        if not auroc or not auroc["interval"]:
            return {"drawn": "", "auroc": auroc, "withheld": bool(result and result["withheld"] and not result["n"])}
        pooled, (low, high) = (of_split["pooled"].get(day) or {}).get("auroc"), auroc["interval"]
        drawn = interval(auroc["value"], low, high, axis, pooled["value"] if pooled else None)
        return {"drawn": Markup(drawn), "auroc": auroc, "withheld": False}  # noqa: S704 - numbers alone

    rows = [
        (of_split["whose"] if name == "pooled" else name, by_day["all"]["n"], [cell(by_day.get(d), d) for d in names])
        for name, by_day in everyone.items()
        if "all" in by_day
    ]
    return {"days": [day_name(d) for d in names], "scale": Markup(scale(axis)), "rows": rows if found else []}  # noqa: S704


def others(results: State, state: State | None) -> list[str]:
    """Enrolled clinics without a part in a run, whose model they have not validated."""
    done = (results["external"] or {"validations": []})["validations"]
    asked = {name for one in done for name in (*one["own"], *one["together"])}
    members = (state or {"clinics": {}})["clinics"]
    return [n for n, c in members.items() if c["state"] != "suspended" and n not in {*results["releases"], *asked}]


def whose(clinic: str) -> str:
    """A clinic's name, or that of all together."""
    return str(texts.common.all_clinics) if clinic == "pooled" else clinic


def clinics(results: State) -> list[tuple[str, str]]:
    """Choices of whose results."""
    names = sorted({n for split in results["splits"].values() for n in split["clinics"]})
    return [(n, whose(n)) for n in ("pooled", *names)]


def days(results: State) -> list[tuple[str, str]]:
    """Choices of days."""
    every = {d for s in results["splits"].values() for by_day in (s["pooled"], *s["clinics"].values()) for d in by_day}
    return [(d, day_name(d)) for d in ("all", *sorted(every - {"all"}, key=int))]


def _rows(of_split: State) -> Iterator[tuple[str, str, State]]:
    for name, by_day in (("pooled", of_split["pooled"]), *of_split["clinics"].items()):
        for day, results in by_day.items():
            yield of_split["whose"] if name == "pooled" else name, day, results
