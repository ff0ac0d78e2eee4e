"""Panels: one function for each kind, and what they are made of: queries, thresholds, mappings, properties of series."""

from collections.abc import Sequence
from typing import Any

SOURCE = {"type": "prometheus", "uid": "embryofl-prometheus"}
Json = dict[str, Any]


def mapping(texts: dict[str, str], colours: dict[str, str] | None = None) -> list[Json]:
    """Show values as texts, in this order, with colours if given."""
    coloured = {key: {"color": colour} for key, colour in (colours or {}).items()}
    options = {v: {"text": text, **coloured.get(v, {}), "index": i} for i, (v, text) in enumerate(texts.items())}
    return [{"type": "value", "options": options}]


def steps(base: str, *more: tuple[float, str]) -> Json:
    """Thresholds: the colour below all of them, then (from value, colour)."""
    marks = [{"color": base, "value": None}, *({"color": c, "value": v} for v, c in more)]
    return {"mode": "absolute", "steps": marks}


PLAIN = steps("text")


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
    empty: str = "the hub cannot be reached",
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
