"""Building blocks of the dashboards: panels, queries, thresholds, and pages that lay panels out in rows."""

from collections.abc import Sequence
from typing import Any

UID = "embryofl-prometheus"
SOURCE = {"type": "prometheus", "uid": UID}
Json = dict[str, Any]

STATES = [  # text and colour by `embryofl:clinic_state_number`
    ("joined", "#8e8e8e"),
    ("online", "green"),
    ("training", "blue"),
    ("evaluating", "purple"),
    ("done", "semi-dark-green"),
    ("late", "orange"),
    ("refused", "semi-dark-red"),
    ("failed", "dark-red"),
    ("offline", "red"),
    ("suspended", "dark-orange"),
]
STATE_MAPPINGS = [
    {"type": "value", "options": {str(i): {"text": t, "color": c, "index": i} for i, (t, c) in enumerate(STATES, 1)}}
]
SEVERITIES = [
    {
        "type": "value",
        "options": {
            "info": {"text": "info", "color": "blue", "index": 2},
            "warning": {"text": "warning", "color": "orange", "index": 0},
            "critical": {"text": "critical", "color": "red", "index": 1},
        },
    }
]
REASONS = {  # why answers are not taken; docs/monitoring.md says what to do
    "clinic_refused": "the clinic's own policy forbids it",
    "late": "no answer before the round ended",
    "clinic_error": "the clinic's work failed",
    "not_finite": "numbers that are not finite",
    "norm": "an update far longer than the others",
    "suspended": "suspended during the round",
    "no_upload": "the update did not arrive",
    "wrong_digest": "the update arrived damaged",
    "wrong_size": "the update arrived damaged",
    "wrong_run": "an answer to another question",
    "wrong_layout": "a model of another form",
    "malformed": "an answer of another form",
    "examples": "more embryos than enrolled",
    "metrics": "metrics of another form",
}
REASON_MAPPINGS = [
    {"type": "value", "options": {r: {"text": words, "index": i} for i, (r, words) in enumerate(REASONS.items())}}
]
NO_CLINIC = "no clinic has joined yet"
NO_HUB = "the hub cannot be reached"
NO_ROUND = "no round is complete yet"


def zero_as(text: str) -> list[Json]:
    """Show a zero as words."""
    return [{"type": "value", "options": {"0": {"text": text, "index": 0}}}]


def steps(base: str, *more: tuple[float, str]) -> Json:
    """Thresholds: the colour below all of them, then (from value, colour)."""
    found = [{"color": base, "value": None}, *({"color": c, "value": v} for v, c in more)]
    return {"mode": "absolute", "steps": found}


GOOD_AUROC = steps("red", (0.6, "orange"), (0.7, "green"))
"""0.5 is guessing; published viability models on outcomes reach 0.6 to 0.7, on quality more."""
GOOD_ECE = steps("green", (0.1, "orange"), (0.2, "red"))
GOOD_BRIER = steps("green", (0.2, "orange"), (0.25, "red"))
"""0.25 is the Brier score of answering 0.5 to everything."""
GOOD_RATE = steps("red", (0.5, "orange"), (0.7, "green"))
NONE_IS_GOOD = steps("green", (1, "red"))
PLAIN = steps("text")


def query(expr: str, legend: str = "", *, now: bool = False, table: bool = False, ref: str = "A") -> Json:
    """A Prometheus query: over the range, or `now` alone (also as a table)."""
    found: Json = {"refId": ref, "datasource": SOURCE, "expr": expr}
    if legend:
        found["legendFormat"] = legend
    if now or table:
        found |= {"instant": True, "range": False}
    if table:
        found["format"] = "table"
    return found


def lettered(queries: Sequence[Json]) -> list[Json]:
    """Queries with refIds A, B, C..."""
    return [{**q, "refId": chr(ord("A") + i)} for i, q in enumerate(queries)]


def override(name: str, *, regex: bool = False, **properties: Any) -> Json:
    """Properties of the field called `name` (of all that it matches, as a `regex`); `__` in a key stands for a dot."""
    values = [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()]
    return {"matcher": {"id": "byRegexp" if regex else "byName", "options": name}, "properties": values}


def fixed(colour: str) -> Json:
    """One colour."""
    return {"mode": "fixed", "fixedColor": colour}


POOLED_LINE = override(
    "all clinics", color=fixed("text"), custom__lineWidth=3, custom__lineStyle={"fill": "dash", "dash": [10, 6]}
)


def panel(
    kind: str,
    title: str,
    text: str,
    queries: Sequence[Json],
    *,
    unit: str = "none",
    w: int,
    h: int,
    empty: str = NO_HUB,
    options: Json | None = None,
    overrides: Sequence[Json] = (),
    transformations: Sequence[Json] = (),
    **defaults: Any,
) -> Json:
    """A panel; `empty` is what stands there without data."""
    found = {
        "type": kind,
        "title": title,
        "description": text,
        "gridPos": {"x": 0, "y": 0, "w": w, "h": h},
        "datasource": SOURCE,
        "targets": lettered(queries),
        "fieldConfig": {"defaults": {"unit": unit, **defaults, "noValue": empty}, "overrides": list(overrides)},
        "options": options or {},
    }
    if transformations:
        found["transformations"] = list(transformations)
    return found


_LAST: Json = {"calcs": ["lastNotNull"], "fields": "", "values": False}


def stat(
    title: str,
    text: str,
    queries: Json | Sequence[Json],
    *,
    w: int = 4,
    h: int = 4,
    show: str = "value",
    spark: bool = False,
    coloured: str = "value",
    **more: Any,
) -> Json:
    """One or a few numbers. `show`: value, name, value_and_name."""
    options = {
        "reduceOptions": _LAST,
        "graphMode": "area" if spark else "none",
        "colorMode": coloured,
        "textMode": show,
        "justifyMode": "center",
    }
    more.setdefault("thresholds", PLAIN)
    return panel(
        "stat", title, text, [queries] if isinstance(queries, dict) else queries, w=w, h=h, options=options, **more
    )


def curve(
    title: str,
    text: str,
    queries: Json | Sequence[Json],
    *,
    w: int = 12,
    h: int = 8,
    stacked: bool = False,
    legend: str = "list",
    right: bool = False,
    custom: Json | None = None,
    calcs: Sequence[str] = ("lastNotNull",),
    at_least: float = 0,
    **more: Any,
) -> Json:
    """Lines over time. The axis reaches up to `at_least`."""
    look: Json = {"lineWidth": 2, "fillOpacity": 0, "spanNulls": False, "showPoints": "never", **(custom or {})}
    if at_least:
        look["axisSoftMax"] = at_least
    if stacked:
        look |= {"stacking": {"mode": "normal", "group": "A"}, "fillOpacity": 40, "lineWidth": 1}
    options = {
        "legend": {
            "displayMode": legend,
            "placement": "right" if right else "bottom",
            "showLegend": True,
            "calcs": list(calcs),
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel(
        "timeseries",
        title,
        text,
        [queries] if isinstance(queries, dict) else queries,
        w=w,
        h=h,
        options=options,
        custom=look,
        **more,
    )


def stepped(*args: Any, **more: Any) -> Json:
    """Lines that change only now and then."""
    return curve(*args, custom={"lineInterpolation": "stepAfter"}, **more)


def bars(title: str, text: str, queries: Json | Sequence[Json], *, w: int = 8, h: int = 8, **more: Any) -> Json:
    """One horizontal bar a series, as of now."""
    options = {
        "reduceOptions": _LAST,
        "orientation": "horizontal",
        "displayMode": "basic",
        "showUnfilled": True,
        "valueMode": "color",
        "namePlacement": "left",
        "maxVizHeight": 44,
        "sizing": "auto",
        "text": {"titleSize": 14, "valueSize": 18},
    }
    more.setdefault("thresholds", PLAIN)
    return panel(
        "bargauge", title, text, [queries] if isinstance(queries, dict) else queries, w=w, h=h, options=options, **more
    )


def columns(
    title: str,
    text: str,
    by: str,
    named: dict[str, str],
    *,
    w: int = 12,
    h: int = 8,
    colours: Sequence[str] = (),
    **more: Any,
) -> Json:
    """Upright bars side by side, one group for each value of the label `by`; `named` gives queries by their names."""
    queries = [query(expr, table=True) for expr in named.values()]
    exclude = {"Time": True} | {f"Time {i}": True for i in range(1, len(named) + 1)}
    single = len(named) == 1
    rename = {("Value" if single else f"Value #{chr(65 + i)}"): n for i, n in enumerate(named)}
    if single:
        rename["Value #A"] = next(iter(named))
    transformations = [
        {"id": "joinByField", "options": {"byField": by, "mode": "outer"}},
        {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": by, "desc": False}]}},
        {"id": "organize", "options": {"excludeByName": exclude, "renameByName": rename, "indexByName": {}}},
    ]
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
        "xField": by,
        "orientation": "vertical",
        "showValue": "auto",
        "groupWidth": 0.7,
        "barWidth": 0.95,
    }
    overrides = [override(n, color=fixed(c)) for n, c in zip(named, colours, strict=False)]
    return panel(
        "barchart",
        title,
        text,
        queries,
        w=w,
        h=h,
        options=options,
        transformations=transformations,
        overrides=overrides,
        custom={"fillOpacity": 80},
        **more,
    )


def table(
    title: str,
    text: str,
    by: Sequence[str],
    named: dict[str, str],
    *,
    w: int = 24,
    h: int = 8,
    first: Sequence[str] = (),
    overrides: Sequence[Json] = (),
    **more: Any,
) -> Json:
    """One row for each value of the labels `by`, a column for each query."""
    queries = [query(expr, table=True) for expr in named.values()]
    single = len(named) == 1
    values = ["Value" if single else f"Value #{chr(65 + i)}" for i in range(len(named))]
    rename = dict(zip(values, named, strict=True)) | dict(zip(by, first or [b.capitalize() for b in by], strict=True))
    if single:
        rename["Value #A"] = next(iter(named))
    order = {name: i for i, name in enumerate([*by, *values])}
    transformations = [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": rename, "indexByName": order}},
    ]
    options = {"showHeader": True, "cellHeight": "sm", "sortBy": [{"displayName": rename[by[0]], "desc": False}]}
    custom = {"align": "auto", "minWidth": 70, "cellOptions": {"type": "auto"}}
    return panel(
        "table",
        title,
        text,
        queries,
        w=w,
        h=h,
        options=options,
        transformations=transformations,
        overrides=overrides,
        custom=custom,
        **more,
    )


def timeline(
    title: str, text: str, queries: Json, mappings: list[Json], *, w: int = 12, h: int = 8, empty: str = NO_HUB
) -> Json:
    """States over time, one line a series."""
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
        "showValue": "never",
        "mergeValues": True,
        "rowHeight": 0.85,
        "alignValue": "left",
    }
    return panel(
        "state-timeline",
        title,
        text,
        [queries],
        w=w,
        h=h,
        options=options,
        mappings=mappings,
        empty=empty,
        custom={"fillOpacity": 80, "lineWidth": 0},
    )


def row(title: str) -> Json:
    """A heading."""
    return {
        "type": "row",
        "title": title,
        "collapsed": False,
        "gridPos": {"x": 0, "y": 0, "w": 24, "h": 1},
        "panels": [],
    }


def variable(name: str, label: str, expr: str, *, first: str = "") -> Json:
    """A choice from a label's values."""
    found: Json = {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": expr, "refId": name},
        "definition": expr,
        "refresh": 2,
        "sort": 1,
        "multi": False,
        "includeAll": False,
        "hide": 0,
        "regex": "",
        "options": [],
    }
    if first:
        found["current"] = {"text": first, "value": first}
    return found


def choice(name: str, label: str, values: Sequence[str], first: str) -> Json:
    """A choice from fixed values."""
    return {
        "name": name,
        "label": label,
        "type": "custom",
        "query": ",".join(values),
        "current": {"text": first, "value": first},
        "options": [],
        "hide": 0,
    }


def _marks(name: str, colour: str, expr: str, title: str, text: str) -> Json:
    """Annotations at times that are a metric's values."""
    return {
        "name": name,
        "enable": True,
        "hide": False,
        "iconColor": colour,
        "datasource": SOURCE,
        "target": {"refId": "Anno", "expr": f"{expr} * 1000", "interval": "10s"},
        "titleFormat": title,
        "textFormat": text,
        "tagKeys": "",
        "useValueForTime": True,
    }


MARKS = [
    _marks("Runs", "blue", "max by (run) (embryofl_run_started_timestamp_seconds)", "{{run}} began", ""),
    _marks(
        "Refusals",
        "red",
        "max by (clinic, reason) (embryofl_clinic_refusal_timestamp_seconds)",
        "{{clinic}}: answer not taken",
        "{{reason}}",
    ),
    _marks("Restarts", "orange", "max(embryofl_hub_start_timestamp_seconds)", "the hub started", ""),
]


def page(uid: str, title: str, text: str, panels: Sequence[Json], variables: Sequence[Json] = ()) -> Json:
    """A dashboard: panels in reading order, from left to right until a line of 24 columns is full."""
    x = y = height = 0
    placed = []
    for number, found in enumerate(panels, 1):
        width = found["gridPos"]["w"]
        if x + width > 24:
            x, y, height = 0, y + height, 0
        placed.append({"id": number, **found, "gridPos": {**found["gridPos"], "x": x, "y": y}})
        x, height = x + width, max(height, found["gridPos"]["h"])
    links = [
        {
            "type": "dashboards",
            "title": "EmbryoFL",
            "tags": ["embryofl"],
            "asDropdown": False,
            "icon": "external link",
            "includeVars": False,
            "keepTime": True,
            "targetBlank": False,
            "tooltip": "",
            "url": "",
        }
    ]
    return {
        "uid": uid,
        "title": title,
        "description": text,
        "tags": ["embryofl"],
        "timezone": "browser",
        "editable": False,
        "graphTooltip": 1,
        "schemaVersion": 41,
        "version": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timepicker": {},
        "annotations": {"list": MARKS},
        "links": links,
        "templating": {"list": list(variables)},
        "panels": placed,
    }
