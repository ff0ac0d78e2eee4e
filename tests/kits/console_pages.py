"""The console's pages as the templates make them, a hub's state to show on them, and a hostile text."""

from html.parser import HTMLParser

from embryofl_console.context import SITE
from embryofl_console.logins import Person
from embryofl_console.pages import clinics, hub, overview, results, runs

EVIL = "<script>alert(1)</script>${constructor}{{x}}\"'><img src=x onerror=y>"
VOID = ("circle", "line", "polyline", "path", "rect", "use", "img", "br", "meta", "link", "input")
IDLE = {"round": 0, "rounds": 0, "phase": "idle", "waiting": None, "deadline": 0, "round_began": 0, "needed": 2}
HUB = {
    "port": 8443,
    "addresses": ["localhost:8443"],
    "certificate_names": ["hub.embryofl.internal"],
    "version": "0.1.0",
    "certificate_ends": 4e9,
    "authority_ends": 4e9,
    "rotating": False,
    "missing": [],
    "tunnel": None,
    "notifier": None,
    "requests": [],
    "approval": "auto",
}
LISTS = ("to_approve", "paused", "queued", "alerts", "events", "runs", "roster", "invites")
EMPTY = {
    **dict.fromkeys(LISTS, []),
    "run": None,
    "progress": IDLE,
    "courses": {},
    "clinics": {},
    "metrics_seen": "",
    "hub": HUB,
    "pace": {"round_s": 0.0, "rounds": 0, "last": 0.0},
}


def running(rounds=3, **changes):
    """A run under way."""
    run = {"name": "run-0001", "state": "running", "round": 1, "reason": "", "updates": "", "metrics": [], "since": 0}
    settings = {"rounds": rounds, "model": "lite0", "strategy": "fedavg", "update_noise": 0.1, "clinics": []}
    return {**run, "settings": settings, **changes}


def show(name, state=EMPTY, **values):
    """A page as it is served."""
    given = {"trouble": "", "note": None, "me": Person("anna", "coordinator"), **values}
    return SITE.show(name, "Title", state=state, **given).body.decode()


def show_overview(state, trouble=""):
    curves = overview.Drawing()(state["courses"] if state else {})
    return show("overview", state, trouble=trouble, curves=curves, **overview.seen(state))


def show_clinics(state, **values):
    given = {"local": None, "mode": "demo", "made": None, "error": "", "typed": {"name": "", "days": "7"}, **values}
    given |= clinics.arranged(state, values.pop("sort", ""), values.pop("find", ""))
    return show("clinics", state, invites=clinics.open_invites(state), **given)


def show_clinic(record):
    history = [{"time": 1, "event": EVIL, "words": EVIL}]
    return show("clinic", clinic=record, day_name=clinics.day_name, history=history, shortened=hub.shortened)


def show_runs(state, offered=None, **values):
    offered = offered or {"models": [], "strategies": [], "defaults": {}}
    given = {"like": "", "preset": "", **values}
    return show("runs", state, **{"cost": None, "error": "", "form": runs.form(offered, {}), **given})


def show_results(data, split="test", clinic="pooled", day="all", name="run-0001", **values):
    seen = results.seen(name, data, split, clinic, day)
    return show("results", names=[(name, name)], run=name, error="", **{"others": [], **seen, **values})


def show_hub(state, entries=(), **values):
    audit = {"audit": {"entries": entries, "events": []}, "events": [], "event": "", "last": 50, "verdict": None}
    given = {"links": [], "checks": hub.checks(state), "ending": hub.ending, "shortened": hub.shortened, **values}
    return show("hub", state, error="", **audit, **given)


def show_compared(*outlines):
    return show("compare", chosen=[], error="", **runs.compared(list(outlines)))


class Tags(HTMLParser):
    """Collects all tags, and those that are not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen, self.open = set(), []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if (tag, dict(attrs).get("src")) != ("script", "/web.js"):  # ours, and no other
            self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        assert not [k for k, _ in attrs if k.startswith("on")]

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag
