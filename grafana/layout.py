"""Pages: rows of panels, the choices at their top, and what all of them share: marks, links, time."""

from collections.abc import Sequence

from panels import SOURCE, Json


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
