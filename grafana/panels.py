"""Building blocks of the dashboards: panels, queries, thresholds, and pages that lay panels out in rows."""

from collections.abc import Sequence
from typing import Any

from embryofl import states

UID = "embryofl-prometheus"
SOURCE = {"type": "prometheus", "uid": UID}
Json = dict[str, Any]

CLINIC_COLOURS = {
    "enrolled": "#8e8e8e",
    "online": "green",
    "training": "blue",
    "evaluating": "purple",
    "done": "semi-dark-green",
    "late": "orange",
    "refused": "semi-dark-red",
    "failed": "dark-red",
    "offline": "red",
    "suspended": "dark-orange",
}
RUN_COLOURS = {
    "queued": "blue",
    "waiting": "orange",
    "running": "blue",
    "paused": "orange",
    "finished": "green",
    "stopped": "red",
    "failed": "red",
}
REASONS = {  # why replies are rejected; docs/monitoring.md says what to do
    "clinic_refused": "blocked by the clinic's policy",
    "late": "no reply before the round ended",
    "clinic_error": "the clinic's work failed",
    "restarted": "restarted during a masked round",
    "not_finite": "numbers that are not finite",
    "norm": "an update far longer than the others",
    "suspended": "suspended during the round",
    "no_upload": "the update did not arrive",
    "wrong_digest": "the update arrived damaged",
    "wrong_size": "the update arrived damaged",
    "wrong_run": "a reply to another request",
    "wrong_layout": "a model of another form",
    "malformed": "a reply of another form",
    "examples": "more images than enrolled",
    "metrics": "metrics of another form",
    "masking": "a step of secure aggregation that breaks its rules",
    "bad_letter": "two clinics disagree about a letter of a masked round",
}


def mapping(texts: dict[str, str], colours: dict[str, str] | None = None) -> list[Json]:
    """Show values as texts, in this order, with colours if given."""
    coloured = {key: {"color": colour} for key, colour in (colours or {}).items()}
    options = {v: {"text": text, **coloured.get(v, {}), "index": i} for i, (v, text) in enumerate(texts.items())}
    return [{"type": "value", "options": options}]


_NUMBERED = list(enumerate(states.CLINIC, 1))  # as in `embryofl:clinic_state_number`
MAPPINGS = {
    "states": mapping(
        {str(n): states.CLINIC[state] for n, state in _NUMBERED},
        {str(n): CLINIC_COLOURS[state] for n, state in _NUMBERED},
    ),
    "severities": mapping(
        {"warning": "Warning", "critical": "Critical", "info": "Info"},
        {"warning": "orange", "critical": "red", "info": "blue"},
    ),
    "reasons": mapping(REASONS),
}
EMPTY = {
    "no_clinic": "no clinic has joined yet",
    "no_hub": "the hub cannot be reached",
    "no_round": "no round is complete yet",
    "not_scraped": "this clinic is not scraped",
    "none_rejected": "no reply was rejected",
}


def steps(base: str, *more: tuple[float, str]) -> Json:
    """Thresholds: the colour below all of them, then (from value, colour)."""
    marks = [{"color": base, "value": None}, *({"color": c, "value": v} for v, c in more)]
    return {"mode": "absolute", "steps": marks}


PLAIN = steps("text")
THRESHOLDS = {
    "good_auroc": steps("red", (0.6, "orange"), (0.7, "green")),  # 0.5 is guessing; outcome models reach 0.6 to 0.7
    "good_ece": steps("green", (0.1, "orange"), (0.2, "red")),
    "good_brier": steps("green", (0.2, "orange"), (0.25, "red")),  # always predicting 0.5 gives 0.25
    "good_rate": steps("red", (0.5, "orange"), (0.7, "green")),
    "none_is_good": steps("green", (1, "red")),
    "plain": PLAIN,
}


def query(expr: str, legend: str = "", *, now: bool = False, table: bool = False) -> Json:
    """A Prometheus query: over the range, or `now` alone (also as a table)."""
    made: Json = {"refId": "A", "datasource": SOURCE, "expr": expr}
    if legend:
        made["legendFormat"] = legend
    if now or table:
        made |= {"instant": True, "range": False}
    if table:
        made["format"] = "table"
    return made


def override(name: str, *, regex: bool = False, **properties: Any) -> Json:
    """Properties of the field called `name` (or of all that it matches, as a `regex`)."""
    values = [{"id": key, "value": value} for key, value in properties.items()]
    return {"matcher": {"id": "byRegexp" if regex else "byName", "options": name}, "properties": values}


def fixed(colour: str) -> Json:
    """One colour."""
    return {"mode": "fixed", "fixedColor": colour}


POOLED_LINE = override(
    "all clinics",
    **{"color": fixed("text"), "custom.lineWidth": 3, "custom.lineStyle": {"fill": "dash", "dash": [10, 6]}},
)


def panel(
    kind: str,
    title: str,
    text: str,
    queries: Sequence[Json],
    *,
    w: int,
    h: int,
    unit: str = "none",
    empty: str = EMPTY["no_hub"],
    options: Json | None = None,
    overrides: Sequence[Json] = (),
    transformations: Sequence[Json] = (),
    **defaults: Any,
) -> Json:
    """A panel; `empty` is shown in place of missing data."""
    made = {
        "type": kind,
        "title": title,
        "description": text,
        "gridPos": {"x": 0, "y": 0, "w": w, "h": h},
        "datasource": SOURCE,
        "targets": [{**q, "refId": chr(ord("A") + i)} for i, q in enumerate(queries)],
        "fieldConfig": {"defaults": {"unit": unit, **defaults, "noValue": empty}, "overrides": list(overrides)},
        "options": options or {},
    }
    return {**made, "transformations": list(transformations)} if transformations else made


_LAST: Json = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_TOOLTIP = {"mode": "multi", "sort": "desc"}


def _legend(calcs: Sequence[str] = ()) -> Json:
    return {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": list(calcs)}


def stat(*args: Any, show: str = "value", spark: bool = False, coloured: str = "value", **more: Any) -> Json:
    """One or a few numbers. `show`: value, name, value_and_name."""
    options = {
        "reduceOptions": _LAST,
        "graphMode": "area" if spark else "none",
        "colorMode": coloured,
        "textMode": show,
        "justifyMode": "center",
    }
    return panel("stat", *args, options=options, **{"thresholds": PLAIN, **more})


def curve(
    *args: Any,
    stacked: bool = False,
    stepped: bool = False,
    at_least: float = 0,
    custom: Json | None = None,
    **more: Any,
) -> Json:
    """Lines over time; `stepped` if they change only now and then. The axis reaches up to `at_least`."""
    look: Json = {"lineWidth": 2, "fillOpacity": 0, "spanNulls": False, "showPoints": "never"}
    if stepped:
        look["lineInterpolation"] = "stepAfter"
    if at_least:
        look["axisSoftMax"] = at_least
    if stacked:
        look |= {"stacking": {"mode": "normal", "group": "A"}, "fillOpacity": 40, "lineWidth": 1}
    options = {"legend": _legend(["lastNotNull"]), "tooltip": _TOOLTIP}
    return panel("timeseries", *args, options=options, custom={**look, **(custom or {})}, **more)


def stepped(*args: Any, **more: Any) -> Json:
    """Lines that change only now and then."""
    return curve(*args, stepped=True, **more)


def bars(*args: Any, **more: Any) -> Json:
    """One horizontal bar per series, as of now."""
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
    return panel("bargauge", *args, options=options, **{"thresholds": PLAIN, **more})


def _value_names(names: Sequence[str]) -> list[str]:
    """How Grafana calls the value columns of several table queries, or of a single one."""
    return ["Value"] if len(names) == 1 else [f"Value #{chr(ord('A') + i)}" for i in range(len(names))]


def _renamed(names: Sequence[str]) -> dict[str, str]:
    only = {"Value #A": names[0]} if len(names) == 1 else {}
    return {**dict(zip(_value_names(names), names, strict=True)), **only}


def columns(title: str, text: str, by: str, named: dict[str, str], *, colours: Sequence[str] = (), **more: Any) -> Json:
    """Upright bars side by side, one group for each value of the label `by`; `named` gives queries by their names."""
    exclude = {"Time": True} | {f"Time {i}": True for i in range(1, len(named) + 1)}
    transformations = [
        {"id": "joinByField", "options": {"byField": by, "mode": "outer"}},
        {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": by, "desc": False}]}},
        {
            "id": "organize",
            "options": {"excludeByName": exclude, "renameByName": _renamed(list(named)), "indexByName": {}},
        },
    ]
    options = {
        "legend": _legend(),
        "tooltip": _TOOLTIP,
        "xField": by,
        "orientation": "vertical",
        "showValue": "auto",
        "groupWidth": 0.7,
        "barWidth": 0.95,
    }
    queries = [query(expr, table=True) for expr in named.values()]
    overrides = [override(n, color=fixed(c)) for n, c in zip(named, colours, strict=False)]
    more |= {"options": options, "transformations": transformations, "overrides": overrides}
    return panel("barchart", title, text, queries, custom={"fillOpacity": 80}, **more)


def table(
    title: str, text: str, by: Sequence[str], named: dict[str, str], *, first: Sequence[str] = (), **more: Any
) -> Json:
    """One row for each value of the labels `by`, a column for each query; `first` names the label columns."""
    names = list(named)
    rename = _renamed(names) | dict(zip(by, first or [b.capitalize() for b in by], strict=True))
    organize = {
        "excludeByName": {"Time": True},
        "renameByName": rename,
        "indexByName": {name: i for i, name in enumerate([*by, *_value_names(names)])},
    }
    more |= {
        "options": {"showHeader": True, "cellHeight": "sm", "sortBy": [{"displayName": rename[by[0]], "desc": False}]},
        "transformations": [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}],
        "custom": {"align": "auto", "minWidth": 70, "cellOptions": {"type": "auto"}},
    }
    return panel("table", title, text, [query(expr, table=True) for expr in named.values()], **more)


def timeline(*args: Any, **more: Any) -> Json:
    """States over time, one line per series."""
    options = {
        "legend": _legend(),
        "tooltip": _TOOLTIP,
        "showValue": "never",
        "mergeValues": True,
        "rowHeight": 0.85,
        "alignValue": "left",
    }
    return panel("state-timeline", *args, options=options, custom={"fillOpacity": 80, "lineWidth": 0}, **more)


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
    made: Json = {
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
    return {**made, "current": {"text": first, "value": first}} if first else made


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


def _marks(name: str, colour: str, expr: str, title: str, text: str = "") -> Json:
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
    _marks("Runs", "blue", "max by (run) (embryofl_run_started_timestamp_seconds)", "{{run}} started"),
    _marks(
        "Rejected replies",
        "red",
        "max by (clinic, reason) (embryofl_clinic_refusal_timestamp_seconds)",
        "{{clinic}}: reply rejected",
        "{{reason}}",
    ),
    _marks("Restarts", "orange", "max(embryofl_hub_start_timestamp_seconds)", "the hub started"),
]
LINK = {
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


def page(uid: str, title: str, text: str, panels: Sequence[Json], variables: Sequence[Json] = ()) -> Json:
    """A dashboard: panels in reading order, from left to right until a line of 24 columns is full."""
    x = y = height = 0
    placed = []
    for number, made in enumerate(panels, 1):
        size = made["gridPos"]
        if x + size["w"] > 24:
            x, y, height = 0, y + height, 0
        placed.append({"id": number, **made, "gridPos": {**size, "x": x, "y": y}})
        x, height = x + size["w"], max(height, size["h"])
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
        "links": [LINK],
        "templating": {"list": list(variables)},
        "panels": placed,
    }
