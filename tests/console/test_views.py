"""The pages escape texts, name what is missing, and show the server's metrics."""

import copy
import html
import re
from html.parser import HTMLParser
from pathlib import Path

import httpx
import numpy as np
import pytest

import embryofl_web
from embryofl.errors import UserError
from embryofl.metrics import ScoreSums
from embryofl.settings import RunSettings
from embryofl_console.context import SITE
from embryofl_console.form import PRESETS, collected, filled, usual
from embryofl_console.hub import raise_for_error
from embryofl_console.logins import Person
from embryofl_console.pages import clinics, hub, overview, results, runs
from embryofl_console.texts import texts
from embryofl_server.federation.choices import offers
from embryofl_server.federation.run_settings import check_settings
from embryofl_server.report.decision import learn_calibration
from embryofl_server.report.summary import summarise
from embryofl_server.runs.evaluation import released_sums
from embryofl_server.runs.tallies import MOST_OF_CLINIC
from embryofl_web.site import stylesheet

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
    "requests": [],
    "approval": "auto",
}
EMPTY = {
    "run": None,
    "progress": IDLE,
    "to_approve": [],
    "paused": [],
    "queued": [],
    "courses": {},
    "alerts": [],
    "events": [],
    "clinics": {},
    "metrics_seen": "",
    "runs": [],
    "roster": [],
    "invites": [],
    "hub": HUB,
    "pace": {"round_s": 0.0, "rounds": 0, "last": 0.0},
}


def score_sums(*days: int, seed: int = 0, n: int = 120) -> dict:
    """Score sums as a clinic sends them."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.4).astype(int)
    scores = 1 / (1 + np.exp(-rng.normal(1.5 * (labels - 0.5), 1.0)))
    return ScoreSums.from_scores(scores, labels, np.resize(days, n), np.arange(n) // 6).suppress().to_dict()


def results_of(evaluation: dict) -> dict:
    """`results.json` as the server writes it."""
    settings = RunSettings(rounds=2)
    record = {
        "run": "run-0001",
        "round": 2,
        "sha256": "0" * 64,
        "use": "",
        "settings": settings.model_dump(),
        "releases": dict.fromkeys(evaluation, "own"),
        "evaluation": evaluation,
        "pooled": {},
        "spent": [],
        "best_validation": None,
    }
    record["calibration"] = learn_calibration(released_sums(record, "validation"), settings)
    return summarise(record, [])


@pytest.fixture(scope="module")
def sample():
    return results_of(
        {
            name: {"validation": score_sums(3, 5, seed=i), "test": score_sums(3, 5, seed=9 + i)}
            for i, name in enumerate(("oslo", "porto"))
        }
    )


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


def show_results(data, split="test", clinic="pooled", day="all", name="run-0001"):
    return show("results", names=[(name, name)], run=name, error="", **results.seen(name, data, split, clinic, day))


def show_hub(state, entries=(), **values):
    audit = {
        "audit": {"entries": entries, "events": []},
        "events": [],
        "event": "",
        "last": 50,
        "verdict": None,
        "error": "",
    }
    given = {"links": [], "checks": hub.checks(state), "ending": hub.ending, "shortened": hub.shortened, **values}
    return show("hub", state, **audit, **given)


def show_compared(*outlines):
    return show("compare", chosen=[], error="", **runs.compared(list(outlines)))


def show_cost(cost):
    return show_runs(EMPTY, cost=cost)


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
    clinic = {
        "name": EVIL,
        "state": EVIL,
        "does": EVIL,
        "reason": EVIL,
        "online": False,
        "last_seen": 0,
        "labelled": EVIL,
        "patients": EVIL,
        "meaning": EVIL,
        "key": EVIL,
        "since": 0,
        "version": EVIL,
        "outdated": EVIL,
        "approved": EVIL,
        "metrics": EVIL,
        "shows_metrics": False,
        "certificate_expires": 1,
    }
    run = {
        "name": EVIL,
        "state": "running",
        "round": 0,
        "reason": EVIL,
        "updates": EVIL,
        "metrics": [],
        "since": 0,
        "settings": {"rounds": 1, "model": EVIL, "strategy": EVIL, "update_noise": 0.0},
    }
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
        "events": [
            {
                "time": 1,
                "event": EVIL,
                "person": EVIL,
                "clinic": EVIL,
                "run": EVIL,
                "round": 1,
                "state": EVIL,
                "reason": EVIL,
            }
        ],
        "courses": {"pooled": [[0, 0.5, 0.7, 0.1], [1, 0.6, 0.6, 0.1]], EVIL: [[0, 0.5, 0.7, 0.1], [1, 0.6, 0.6, 0.1]]},
        "runs": [{**run, "rounds": 1, "model": EVIL, "strategy": EVIL, "results": True, "note": EVIL}],
        "invites": [{"name": EVIL, "state": "open", "created": 1, "expires": 2}],
        "hub": HUB | {"tunnel": {"up": True, "address": EVIL, "before": EVIL, "words": EVIL}, "addresses": [EVIL]},
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


def test_card_is_shown_in_a_frame_without_scripts_and_requests(sample):
    assert re.search(r'<iframe [^>]*sandbox=""', show_results(sample))
    policy = results.card_policy("<style>p{}</style><script>alert(1)</script>")
    assert policy.startswith("sandbox; default-src 'none'; style-src 'sha256-") and "script" not in policy
    assert "style-src 'none'" in results.card_policy("<p>")


def test_links_to_monitoring_are_http_only():
    page = show_hub(EMPTY, links=hub.monitoring("javascript:alert(1)", "http://localhost:9090"))
    assert "javascript" not in page and 'href="http://localhost:9090"' in page


@pytest.mark.parametrize("state", [None, EMPTY])
def test_pages_explain_a_hub_that_is_unreachable_or_new(state):
    for page in (show_overview(state), show_clinics(state), show_runs(state), show_hub(state)):
        assert not Tags(page).open and (state or texts.page.loading in page)
    assert clinics.open_invites(state) == []
    if state:
        assert texts.overview.invite_next in show_overview(state) and texts.clinics.no_clinic in show_clinics(state)
    assert "Is it being started?" in show_overview(state, "The hub does not answer. Is it being started?")


def test_next_step_names_offline_and_suspended_clinics():
    run = {
        "name": "run-0001",
        "state": "running",
        "round": 0,
        "reason": "",
        "updates": "",
        "metrics": [],
        "settings": {"rounds": 3, "model": "lite0", "strategy": "fedavg", "update_noise": 0.0},
    }
    waiting = {"for_": ["oslo"], "why": "2 of 3 are online", "until": 0, "then": ""}
    state = EMPTY | {"run": run, "progress": IDLE | {"phase": "waiting", "waiting": waiting}}
    away = {
        "oslo": {"state": "offline", "detail": "", "labelled": 3, "metrics": "own"},
        "porto": {"state": "suspended", "detail": "its labels", "labelled": 3, "metrics": "own"},
    }
    page = show_overview(state | {"clinics": away})
    assert (
        texts.overview.switch_on_next.format(names="oslo") in page
        and "its labels" in page
        and "2 of 3 are online" in page
    )
    away["oslo"]["state"] = "online"
    assert texts.overview.suspended_next.format(names="porto") in show_overview(state | {"clinics": away})


def test_end_of_a_run_is_estimated_from_its_rounds():
    run = {
        "name": "run-0001",
        "state": "running",
        "round": 4,
        "reason": "",
        "updates": "",
        "metrics": [],
        "settings": {"rounds": 10, "model": "lite0", "strategy": "fedavg", "update_noise": 0.1},
    }
    state = EMPTY | {"run": run, "progress": IDLE | {"phase": "training", "round": 5}}
    assert texts.overview.end_unknown in show_overview(state)
    page = show_overview(state | {"pace": {"round_s": 20.0, "rounds": 4, "last": 1000.0}})
    assert 'datetime="1970-01-01T00:18:40Z"' in page and "based on the last 4" in page


def test_clinics_are_sorted_by_any_column_and_filtered_by_any_word():
    line = {"online": False, "does": "", "reason": "", "meaning": "quality", "version": "0.1.0", "last_seen": 5.0}
    roster = [
        {**line, "name": "oslo", "state": "revoked", "labelled": None, "patients": 9},
        {
            **line,
            "name": "porto",
            "state": "enrolled",
            "does": "online",
            "online": True,
            "labelled": 10,
            "patients": 30,
        },
        {
            **line,
            "name": "lyon",
            "state": "suspended",
            "does": "suspended",
            "reason": "its labels",
            "labelled": 200,
            "patients": 4,
        },
    ]
    state = EMPTY | {"roster": roster}

    def order(sort, find=""):
        return [c["name"] for c in clinics.arranged(state, sort, find)["roster"]]

    assert order("") == ["lyon", "oslo", "porto"] == order("no such column")
    assert order("labelled") == ["porto", "lyon", "oslo"] and order("-labelled") == ["lyon", "porto", "oslo"]
    assert order("-last_seen")[0] == "porto"
    assert order("", "Revoked") == ["oslo"] and order("", "its labels") == ["lyon"] and order("", "x") == []
    page = show_clinics(state, sort="-patients", find="o")
    assert page.count('aria-sort="descending"') == 1 and 'href="/clinics?sort=patients&amp;find=o"' in page
    assert texts.clinics.none_match.format(words="nobody").replace('"', "&#34;") in show_clinics(state, find="nobody")


def test_first_page_shows_who_holds_the_round_alerts_events_and_curves_of_clinics():
    run = {
        "name": "run-0001",
        "state": "running",
        "round": 1,
        "reason": "",
        "updates": "",
        "metrics": [
            {"clinic": "oslo", "split": "validation", "day": None, "auroc": 0.6, "auroc_se": 0.05, "auroc_blur": 0.0}
        ],
        "settings": {"rounds": 3, "model": "lite0", "strategy": "fedavg", "update_noise": 0.1},
    }
    waiting = {"for_": ["oslo", "porto"], "why": "", "until": 9e9, "then": "the round ends"}
    progress = {"round": 2, "phase": "training", "waiting": waiting, "deadline": 9e9, "round_began": 5, "needed": 2}
    clinic = {"state": "training", "since": 7, "detail": "", "labelled": 3, "metrics": "own"}
    points = [[0, 0.5, 0.7, 0.1], [1, 0.6, 0.6, 0.1]]
    event = {"time": 1.0, "person": "", "clinic": "", "run": "run-0001", "round": 1, "state": "", "reason": ""}
    page = show_overview(
        EMPTY
        | {
            "run": run,
            "progress": progress,
            "clinics": {"oslo": clinic, "porto": clinic},
            "courses": {"pooled": points, "oslo": points, "porto": points},
            "alerts": [{"alert": "UpdateRefused", "clinic": "porto", "detail": "norm"}],
            "events": [
                event | {"event": "round"},
                event | {"event": "person_added", "person": "ana", "run": "", "round": ""},
                event | {"event": "suspended", "clinic": "porto", "run": "", "round": "", "reason": "its labels"},
            ],
        }
    )
    assert not Tags(page).open and "oslo and porto hold round 2" in page
    assert '0.600 <span class="interval">(0.50 to 0.70)' in page
    assert (
        "Person added: ana" in page
        and "Round completed: run-0001, round 1" in page
        and "Clinic suspended: porto (its labels)" in page
    )
    assert (
        "A reply of porto was rejected in the last ten minutes: norm." in page and 'href="/clinic?name=porto"' in page
    )
    assert page.count("<polyline") == 6 and page.count("<polygon") == 1 and 'class="label">oslo<' in page
    assert "noise of 0.1 times their bound" in page
    private = run | {"settings": run["settings"] | {"dp_epsilon": 8.0, "dp_delta": 1e-5}}
    assert "epsilon 8 at delta 1e-05" in show_overview(EMPTY | {"run": private, "progress": progress})
    assert texts.overview.no_alerts in show_overview(EMPTY) and texts.overview.no_events in show_overview(EMPTY)


def test_first_page_stays_small_with_50_clinics_and_100_rounds():
    names = [f"clinic-{n}" for n in range(50)]
    course = [[r, 0.5 + r / 300, 0.7 - r / 500, 0.05] for r in range(100)]
    clinics = dict.fromkeys(names, course[:MOST_OF_CLINIC])
    line = {"split": "validation", "day": None, "auroc": 0.8, "auroc_se": 0.02, "auroc_blur": 0.0}
    run = {
        "name": "run-0001",
        "state": "running",
        "round": 99,
        "reason": "",
        "updates": "",
        "metrics": [line | {"clinic": name} for name in names],
        "settings": {"rounds": 100, "model": "lite0", "strategy": "fedavg", "update_noise": 0.0},
    }
    clinic = {"state": "training", "since": 7, "detail": "", "labelled": 400, "metrics": "own"}
    progress = {"round": 100, "phase": "training", "waiting": None, "deadline": 9e9, "round_began": 5, "needed": 40}
    state = EMPTY | {"run": run, "progress": progress, "clinics": dict.fromkeys(names, clinic)}
    page = show_overview(state | {"courses": {"pooled": course} | clinics})
    files = sum(len((Path(embryofl_web.__file__).parent / "static" / n).read_bytes()) for n in ("web.css", "web.js"))
    assert len(page) + files < 150_000


def test_metrics_and_intervals_equal_those_in_results_json(sample):
    for split, clinic, day in (("test", "pooled", "all"), ("validation", "oslo", "5")):
        page = show_results(sample, split, clinic, day)
        of = sample["splits"][split]["pooled" if clinic == "pooled" else "clinics"]
        metrics = (of if clinic == "pooled" else of[clinic])[day]
        low, high = metrics["auroc"]["interval"]
        assert f'{metrics["auroc"]["value"]:.3f} <span class="interval">({low:.2f} to {high:.2f})' in page
        confusion = metrics["confusion"]
        assert f"<td>{confusion['true_positives']}</td><td>{confusion['false_negatives']}</td>" in page
        assert page.count("<figure") == 3 and page.count(texts.page.research) == 1 and not Tags(page).open
    assert [v for v, _ in results.clinics(sample)] == ["pooled", "oslo", "porto"]
    assert [v for v, _ in results.days(sample)] == ["all", "3", "5"]


def test_results_begin_with_the_auroc_in_a_sentence_and_compare_clinics_on_one_scale(sample):
    pooled = sample["splits"]["test"]["pooled"]["5"]
    page = show_results(sample, day="5")
    says = texts.results.says["test"].format(n=pooled["n"], day="day 5", of=round(100 * pooled["auroc"]["value"]))
    assert says in page and page.index(says) < page.index(texts.results.forest)
    forest = results.forest(sample["splits"]["test"])
    assert forest["days"] == ["All days", "Day 3", "Day 5"] and [row[0] for row in forest["rows"]][1:] == [
        "oslo",
        "porto",
    ]
    oslo = sample["splits"]["test"]["clinics"]["oslo"]["3"]["auroc"]
    assert (
        forest["rows"][1][2][1]["auroc"] == oslo and page.count('class="ref"') == 9 == page.count('class="range"') - 1
    )
    warned = {**sample, "warnings": [{"kind": "chance", "level": "warn", "words": "It may be chance."}]}
    assert texts.todo.chance in show_results(warned)


def test_results_as_one_file_load_nothing_and_have_no_script(sample):
    page = show(
        "results",
        names=[],
        run="run-0001",
        error="",
        style=stylesheet(),
        entered=False,
        **results.seen("run-0001", sample, "test", "pooled", "all"),
    )
    assert not Tags(page).open and "<form" not in page and "<iframe" not in page and "<script" not in page
    assert (
        re.findall(r'(?:src|href)="(?!#|data:)([^"]*)"', page) == ["/"]
        and ".forest" in page
        and page.count("<figure") == 3
    )


def test_withheld_and_missing_metrics_are_named_and_not_drawn():
    few = results_of({"oslo": {"validation": score_sums(5), "test": score_sums(3, n=6)}})
    assert few["splits"]["test"]["clinics"]["oslo"]["3"]["withheld"]
    page = show_results(few, "test", "oslo", "3")
    assert texts.results.withheld in page and texts.results.too_few in page and "<figure" not in page
    nothing = results_of({})
    for split in ("test", "validation"):
        assert texts.results.nothing in show_results(nothing, split)
    assert texts.results.nothing in show_results(few, "test", "gone")
    assert not Tags(show_results(nothing)).open


def test_estimate_names_its_source():
    cost = {
        "clinics": 3,
        "model_bytes": 2e6,
        "updates": "",
        "metrics_seen": "",
        "clinic_bytes": 42e6,
        "total_bytes": 126e6,
        "rounds": 10,
        "round_s": 6.0,
        "total_s": 60.0,
        "from": "run",
        "run": "run-0004",
        "run_rounds": 5,
        "scaled": True,
    }
    page = show_cost(cost)
    assert "about 60 s" in page and "run-0004" in page and "126 MB" in page and texts.cost.scaled in page
    rough = show_cost(cost | {"from": "images", "images": 400, "image_s": 0.024})
    assert "rough estimate" in rough and "400" in rough and "24 ms" in rough
    unknown = show_cost(cost | {"from": "nothing", "total_s": None, "round_s": None})
    assert texts.cost.time_unknown in unknown and texts.cost.unknown in unknown


def test_one_clinic_and_one_round_are_singular():
    cost = {
        "clinics": 1,
        "model_bytes": 2e6,
        "updates": "",
        "metrics_seen": "",
        "clinic_bytes": 6e6,
        "total_bytes": 6e6,
        "rounds": 1,
        "round_s": None,
        "total_s": None,
        "from": "nothing",
    }
    assert "6 MB for the one clinic," in (one := show_cost(cost)) and "down and up, in one round." in one
    many = show_cost(cost | {"clinics": 3, "rounds": 10})
    assert "6 MB for each of 3 clinics," in many and "down and up, in 10 rounds." in many


def test_hub_page_checks_itself_and_the_versions_of_clinics():
    well = hub.checks(EMPTY)
    assert all(good for good, _ in well) and len(well) == 5 and hub.checks(None) == []
    alerts = [
        {"alert": "DiskNearlyFull", "clinic": "", "detail": "4 %"},
        {"alert": "NoProgress", "clinic": "", "detail": ""},
    ]
    old = [{"name": "oslo", "outdated": "0.0.1"}, {"name": "porto", "outdated": ""}]
    wrong = [words for good, words in hub.checks(EMPTY | {"alerts": alerts, "roster": old}) if not good]
    assert "4 % free" in wrong[0] and wrong[1:] == [texts.hub.outdated.format(names="oslo")]
    assert wrong[0] in show_hub(EMPTY | {"alerts": alerts}).replace("&#39;", "'")


def test_audit_log_shows_the_beginning_of_a_digest():
    page = show_hub(
        EMPTY, [{"line": 1, "time": 1.0, "event": "round", "words": f"round=1 model_made={'0123456789abcdef' * 4}"}]
    )
    assert "model_made=0123456789ab...<" in page


def test_compared_runs_show_differences_and_missing_results():
    settings = {"rounds": 3, "model": "lite0", "strategy": "fedavg"}
    final = {
        "test": {"pooled": {"auroc": {"value": 0.8, "interval": [0.7, 0.9]}, "auprc": None, "brier": None, "ece": None}}
    }
    one = {
        "name": "run-0001",
        "state": "finished",
        "round": 3,
        "settings": settings,
        "curve": [[0, 0.5, 0.7, 0.0], [1, 0.6, 0.6, 0.1]],
        "final": final,
    }
    two = one | {"name": "run-0002", "state": "running", "settings": settings | {"strategy": "scaffold"}, "final": None}
    page = show_compared(one, two)
    assert "scaffold" in page and "0.800" in page and ">lite0<" not in page and page.count("<figure") == 2
    assert page.count("<polygon") == 2  # of AUROC
    assert texts.compare.no_finals in show_compared(two, two | {"curve": []})
    assert texts.compare.same in show_compared(one, one)


def test_form_becomes_run_settings():
    fields = {
        "model": "lite0",
        "strategy": "fedembryo",
        "model_before": "lite0",
        "rounds": "5",
        "local_epochs": "2",
        "seed": "7",
        "min_clinics": "0",
        "quorum": "0.5",
        "round_deadline_s": "0",
        "norm_clip": "5",
        "norm_bound": "50",
        "suspend_after": "3",
        "more": "schedule=constant\n\nlearning_rate = 0.001",
        "own-temperature": "2.5",
        "own-other": "",
    }
    assert collected(fields) == {
        "model": "lite0",
        "strategy": "fedembryo",
        "rounds": 5,
        "local_epochs": 2,
        "seed": 7,
        "quorum": 0.5,
        "round_deadline_s": "auto",
        "norm_clip": 5,
        "norm_bound": 50,
        "suspend_after": 3,
        "schedule": "constant",
        "learning_rate": 0.001,
        "temperature": 2.5,
    }
    fields |= {"min_clinics": "2", "round_deadline_s": "30"}
    assert collected(fields)["min_clinics"] == 2 and collected(fields)["round_deadline_s"] == 1800
    with pytest.raises(UserError, match="name=value"):
        collected(fields | {"more": "rounds"})


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_makes_settings_that_can_be_run(preset):
    assert set(PRESETS) == set(texts.preset)
    offered = offers()
    fields = {**usual(offered), **filled(PRESETS[preset], offered["defaults"])}
    settings = check_settings({**collected(fields), "min_clinics": 3})
    assert {key: getattr(settings, key) for key in PRESETS[preset]} == PRESETS[preset]
    assert bool(settings.masked_weights) == (preset != "robust") == (settings.seed > 0)  # with masks it is drawn
    assert texts.preset[preset].says in html.unescape(show_runs(EMPTY, preset=preset))


def test_settings_of_a_run_fill_the_form_and_come_back():
    offered = offers()
    made = check_settings(
        {"strategy": "fedembryo", "temperature": 3.0, "rounds": 7, "seed": 5, "patience": 2, "min_clinics": 2}
    )
    settings = made.model_dump()
    fields = filled(settings, offered["defaults"])
    assert fields["rounds"] == "7" and "patience=2" in fields["more"] and fields["own-temperature"] == "3"
    assert check_settings(collected({**usual(offered), **fields})).model_dump() == settings
    assert "seed" not in filled({**settings, "masked_weights": "examples"}, offered["defaults"])


def test_runs_are_compared_clinic_by_clinic():
    def final(**aurocs):
        return {name: {"auroc": value and {"value": value, "interval": None}} for name, value in aurocs.items()}

    first = final(pooled=0.8, oslo=0.7, porto=0.8, lyon=0.75, new=None)
    other = final(pooled=0.9, oslo=0.72, porto=0.84, lyon=0.78, new=0.9)
    difference = runs.paired(first, other)
    half = 4.303 * 0.01 / 3**0.5  # of 0.02, 0.03 and 0.04
    assert difference["clinics"] == 3 and difference["value"] == pytest.approx(0.03)
    assert difference["interval"] == pytest.approx([0.03 - half, 0.03 + half], abs=1e-4)
    assert runs.paired(first, final(oslo=0.7)) is None


def test_chosen_model_brings_its_local_epochs():
    offered = {"models": [{"name": "lite0", "recipe": {"local_epochs": 3}}], "strategies": [], "defaults": {}}
    chosen = {"model": "lite0", "model_before": "small_cnn", "local_epochs": "1"}
    assert runs.fitted(offered, chosen) == {"model": "lite0", "model_before": "lite0", "local_epochs": "3"}
    assert runs.fitted(offered, chosen | {"model_before": "lite0"})["local_epochs"] == "1"


def test_hubs_validation_error_becomes_one_readable_message():
    detail = [{"loc": ["body", "days"], "msg": "Input should be less than or equal to 366", "type": "x"}]
    with pytest.raises(UserError, match=r"^days: Input should be less than or equal to 366 \(H2: "):
        raise_for_error(httpx.Response(422, json={"detail": detail}))
    with pytest.raises(UserError, match=r"^There is no run \(H2: "):
        raise_for_error(httpx.Response(400, json={"error": "There is no run"}))
