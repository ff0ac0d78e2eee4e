"""Write the dashboards to grafana/dashboards/ from the pages in grafana/pages/. Usage: python grafana/make_dashboards.py

A page is a YAML file. Each entry of `panels` is a row (a heading), or a panel:

- its kind and title: stat, stepped, curve, bars, timeline, columns, table (functions of `panels`)
- `text`: the description
- `now` or `query`: PromQL for this moment or over the range, alone or by legend; `<name>` is replaced from `names`
- `options`: `size` (width x height, in 24 columns), unit, thresholds, mappings, `empty` (shown without data), ...: as
  written or by name (names.yml)
- `fields`: properties of single series; `colours`: their colours only; `states`: labels and colours of a kind of state;
  `pooled_line`: a dashed line for all clinics together
"""

import json
import re
from pathlib import Path
from typing import Any

import layout
import panels
import yaml

from embryofl import states

HERE = Path(__file__).parent
PAGES = ("federation", "clinic", "quality", "operations")
NAMES = yaml.safe_load((HERE / "names.yml").read_text())
COLOURS, EMPTY, THRESHOLDS = NAMES["colours"], NAMES["empty"], NAMES["thresholds"]
KINDS = {make.__name__: make for make in (panels.stat, panels.stepped, panels.curve, panels.bars, panels.timeline)}
ALERTS = yaml.safe_load((HERE.parent / "prometheus" / "rules" / "alerts.yml").read_text())["groups"][0]["rules"]
NUMBERED = {str(n): state for n, state in enumerate(states.CLINIC, 1)}  # as in `embryofl:clinic_state_number`
MAPPINGS = {
    "states": panels.mapping(
        {n: states.CLINIC[state] for n, state in NUMBERED.items()},
        {n: COLOURS["clinic"][state] for n, state in NUMBERED.items()},
    ),
    "severities": panels.mapping(NAMES["severities"], COLOURS["severities"]),
    "reasons": panels.mapping(NAMES["reasons"]),
    "actions": panels.mapping({rule["alert"]: rule["annotations"]["action"] for rule in ALERTS}),
}
STATES = {
    "run": [
        *(panels.override(s, color=panels.fixed(COLOURS["run"][s]), displayName=n) for s, n in states.RUN.items()),
        panels.override("none", color=panels.fixed("#6e7077"), displayName="no run yet"),
    ],
    "phase": [
        panels.override(s, color=panels.fixed(COLOURS["phase"].get(s, "blue")), displayName=n)
        for s, n in states.PHASE.items()
    ],
}


def named(kind: str, value: Any) -> Any:
    """Thresholds, mappings or the text shown without data, by name or as written."""
    if kind == "thresholds":
        base, *more = THRESHOLDS[value] if isinstance(value, str) else value
        return panels.steps(base, *more)
    if kind == "mappings":
        return MAPPINGS[value] if isinstance(value, str) else panels.mapping(value)
    return EMPTY.get(value, value) if kind == "empty" else value


def field(name: str, properties: dict[str, Any]) -> Any:
    """Properties of a series: `colour` is one colour, `coloured` colours it by its thresholds."""
    made = {key: named(key, value) for key, value in properties.items() if key not in ("colour", "coloured")}
    if "colour" in properties:
        made["color"] = panels.fixed(properties["colour"])
    if properties.get("coloured"):
        made["color"] = {"mode": "thresholds"}
    return panels.override(name, **made)


def panel(entry: dict[str, Any], names: dict[str, str]) -> Any:
    """A panel from its entry."""
    kind, title = next(iter(entry.items()))
    if kind == "row":
        return layout.row(title)

    def filled(expr: str) -> str:
        return re.sub(r"<(\w+)>", lambda match: names[match[1]], expr)

    when = "now" if "now" in entry else "query"
    exprs = entry[when] if isinstance(entry[when], dict) else {"": entry[when]}
    exprs = {legend: filled(expr) for legend, expr in exprs.items()}
    options = {key: named(key, value) for key, value in entry["options"].items()}
    options["w"], options["h"] = map(int, options.pop("size").split("x"))
    if kind == "columns":
        return panels.columns(title, entry["text"], entry["by"], exprs, **options)
    options["overrides"] = [
        *([panels.POOLED_LINE] if entry.get("pooled_line") else []),
        *STATES.get(entry.get("states", ""), []),
        *(field(name, {"colour": colour}) for name, colour in entry.get("colours", {}).items()),
        *(field(name, properties) for name, properties in entry.get("fields", {}).items()),
    ]
    if kind == "table":
        return panels.table(title, entry["text"], entry["by"], exprs, **options)
    queries = [panels.query(expr, legend, now=when == "now") for legend, expr in exprs.items()]
    return KINDS[kind](title, entry["text"], queries, **options)


def text_of(name: str) -> str:
    """The text of a dashboard's file."""
    page = yaml.safe_load((HERE / "pages" / f"{name}.yml").read_text())
    variables = [
        layout.choice(**v)
        if "values" in v
        else layout.variable(v["name"], v["label"], v["query"], first=v.get("first", ""))
        for v in page.get("variables", [])
    ]
    made = [panel(entry, page.get("names", {})) for entry in page["panels"]]
    dashboard = layout.page(f"embryofl-{name}", page["title"], page["description"], made, variables)
    return json.dumps(dashboard, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name in PAGES:
        (HERE / "dashboards" / f"{name}.json").write_text(text_of(name))
