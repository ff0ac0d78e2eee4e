"""Texts that clinics and people have typed are shown as texts, on every page."""

import copy

from embryofl_console.pages import hub
from kits.console_pages import (
    EMPTY,
    EVIL,
    HUB,
    Tags,
    running,
    show_clinic,
    show_clinics,
    show_compared,
    show_hub,
    show_overview,
    show_results,
    show_runs,
)


def evil(value):
    """A copy with every text replaced by a hostile one."""
    if isinstance(value, dict):
        return {EVIL if k in ("oslo", "porto") else k: evil(v) for k, v in value.items()}
    if isinstance(value, list):
        return [evil(v) for v in value]
    return EVIL if isinstance(value, str) else value


def safe(page: str) -> None:
    assert not Tags(page).open
    assert not {"script", "img", "b"} & Tags(page).seen


def test_text_from_clinics_and_people_is_escaped(sample):
    texts = "name state does reason labelled patients meaning key version outdated approved metrics"
    clinic = dict.fromkeys(texts.split(), EVIL)
    clinic |= {"online": False, "last_seen": 0, "since": 0, "shows_metrics": False, "certificate_expires": 1}
    settings = {"rounds": 1, "model": EVIL, "strategy": EVIL, "update_noise": 0.0, "clinics": [EVIL]}
    run = running(name=EVIL, reason=EVIL, updates=EVIL, settings=settings)
    event = dict.fromkeys(["event", "person", "clinic", "run", "state", "reason"], EVIL)
    points = [[0, 0.5, 0.7, 0.1], [1, 0.6, 0.6, 0.1]]
    waiting = {"for_": [EVIL], "why": EVIL, "until": 9.0, "then": EVIL}
    state = EMPTY | {
        "run": run,
        "progress": {"round": 1, "phase": EVIL, "waiting": waiting, "deadline": 9, "round_began": 5, "needed": 2},
        "to_approve": [EVIL],
        "metrics_seen": EVIL,
        "clinics": {EVIL: {"state": EVIL, "since": 7, "detail": EVIL, "labelled": None, "metrics": "own"}},
        "roster": [clinic],
        "queued": [EVIL],
        "alerts": [{"alert": "ClinicOffline", "clinic": EVIL, "detail": EVIL}],
        "events": [event | {"time": 1, "round": 1}],
        "courses": {"pooled": points, EVIL: points},
        "runs": [{**run, "rounds": 1, "model": EVIL, "strategy": EVIL, "results": True, "note": EVIL}],
        "invites": [{"name": EVIL, "state": "open", "created": 1, "expires": 2}],
        "hub": HUB
        | {
            "tunnel": {"up": True, "address": EVIL, "before": EVIL, "words": EVIL},
            "notifier": {"up": False, "words": EVIL},
            "addresses": [EVIL],
        },
    }
    record = clinic | {
        "summary": {"counts": {EVIL: {"1": EVIL}}},
        "warnings": [EVIL],
        "link": dict.fromkeys(("down_rate", "up_rate", "reconnects")),
        "rounds": [{"run": EVIL, "round": 1, "result": "refused", "words": EVIL}],
    }
    hostile = evil(copy.deepcopy(sample))
    hostile["warnings"] = [{"kind": EVIL, "level": "warn", "words": EVIL}]
    outline = {
        "name": EVIL,
        "state": EVIL,
        "round": 1,
        "settings": {"rounds": 1, "strategy": EVIL},
        "curve": [],
        "final": {"test": {EVIL: {"auroc": {"value": 0.5, "interval": None}}}},
    }
    other = outline | {"settings": {"rounds": 2, "strategy": "x"}}
    model = {"name": EVIL, "words": EVIL, "size": 1, "recipe": {"local_epochs": 1}}
    strategy = {"name": EVIL, "words": EVIL, "settings_words": EVIL, "least_clinics": 2}
    strategy["settings"] = [{"name": EVIL, "default": EVIL}]
    offered = {"models": [model], "strategies": [strategy], "defaults": {"model": EVIL, "strategy": EVIL}}
    lines = dict.fromkeys(("docker", "podman", "pip", "code"), EVIL)
    made = (EVIL, {"expires": 1, "manual": True, "lines": lines})
    for page in (
        show_overview(state, EVIL),
        show_clinics(state, made=made, local={EVIL: EVIL}, error=EVIL, typed={"name": EVIL, "days": EVIL}),
        show_clinic(record),
        show_runs(state, offered, error=EVIL, like=EVIL),
        show_hub(state, [{"line": 1, "time": 1, "event": EVIL, "words": EVIL}], links=hub.monitoring(EVIL, EVIL)),
        show_results(hostile, name=EVIL),
        show_results(hostile, clinic=EVIL, day="3"),
        show_compared(outline, other),
    ):
        safe(page)
        assert "&lt;script&gt;" in page
