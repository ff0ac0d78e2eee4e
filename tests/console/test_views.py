"""The pages escape texts, name what is missing, and show the server's metrics."""

import copy
import re
from html.parser import HTMLParser

import httpx
import numpy as np
import pytest

from embryofl.errors import UserError
from embryofl.metrics import ScoreSums
from embryofl.settings import RunSettings
from embryofl_console.form import collected
from embryofl_console.hub import raise_for_error
from embryofl_console.texts import texts
from embryofl_console.views import clinics, compare, hub, overview, results, runs
from embryofl_server.report.decision import learn_calibration
from embryofl_server.report.summary import summarise
from embryofl_server.runs.evaluation import released_sums

EVIL = "<script>alert(1)</script>${constructor}{{x}}\"'><img src=x onerror=y>"
IDLE = {"round": 0, "phase": "idle", "waiting": None, "deadline": 0}
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
    "approval": "auto",
}
EMPTY = {
    "run": None,
    "progress": IDLE,
    "to_approve": [],
    "paused": [],
    "queued": [],
    "curve": [],
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


class Tags(HTMLParser):
    """Collects all tags, and those that are not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen, self.open = set(), []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        if tag not in ("circle", "line", "polyline", "img", "br"):
            self.open.append(tag)
        assert not [k for k, _ in attrs if k.startswith("on")]

    def handle_endtag(self, tag):
        if tag not in ("circle", "line", "polyline"):
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
    assert not {"script", "img"} & Tags(page).seen and "${" not in page and "{{" not in page


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
    }
    run = {
        "name": EVIL,
        "state": "running",
        "round": 0,
        "reason": EVIL,
        "updates": EVIL,
        "metrics": [],
        "since": 0,
        "settings": {"rounds": 1, "model": EVIL, "strategy": EVIL},
    }
    waiting = {"for_": [EVIL], "why": EVIL, "until": 9.0, "then": EVIL}
    state = EMPTY | {
        "run": run,
        "progress": {"round": 1, "phase": EVIL, "waiting": waiting, "deadline": 9},
        "to_approve": [EVIL],
        "metrics_seen": EVIL,
        "clinics": {EVIL: {"state": EVIL, "detail": EVIL, "labelled": None, "metrics": "own"}},
        "roster": [clinic],
        "queued": [EVIL],
        "runs": [{**run, "rounds": 1, "model": EVIL, "strategy": EVIL, "results": True}],
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
    hostile["warnings"] = [{"level": "warn", "words": EVIL}]
    outline = {
        "name": EVIL,
        "state": EVIL,
        "round": 1,
        "settings": {"rounds": 1, "strategy": EVIL},
        "curve": [],
        "final": {"test": {EVIL: {"auroc": {"value": 0.5, "interval": None}}}},
    }
    other = outline | {"settings": {"rounds": 2, "strategy": "x"}}
    for page in (
        overview.page(state, EVIL),
        clinics.roster(state),
        clinics.record(record),
        clinics.invites(state),
        clinics.local({EVIL: EVIL}),
        clinics.invited(
            EVIL, {"expires": 1, "manual": True, "lines": dict.fromkeys(("docker", "podman", "pip", "code"), EVIL)}
        ),
        runs.runs(state),
        runs.about({"name": EVIL, "words": EVIL, "size": 1}, {}),
        hub.connection(state),
        hub.audit([{"line": 1, "time": 1, "event": EVIL, "words": EVIL}]),
        hub.monitoring(EVIL, EVIL),
        results.head(EVIL, hostile),
        results.page(hostile, "test", "pooled", "all"),
        results.page(hostile, "test", EVIL, "3"),
        compare.compared([outline, other]),
        results.card(EVIL, EVIL),
    ):
        safe(page)


def test_card_is_shown_in_a_frame_without_scripts_and_requests():
    page = results.card("run-0001", "<script>alert(1)</script>")
    assert re.search(r'<iframe [^>]*sandbox=""', page) and "&lt;script" in page


def test_links_to_monitoring_are_http_only():
    page = hub.monitoring("javascript:alert(1)", "http://localhost:9090")
    assert "javascript" not in page and 'href="http://localhost:9090"' in page


@pytest.mark.parametrize("state", [None, EMPTY])
def test_pages_explain_a_hub_that_is_unreachable_or_new(state):
    for page in (overview.page(state, ""), clinics.roster(state), runs.runs(state), hub.connection(state)):
        assert not Tags(page).open and page
    assert runs.names(state, with_results=True) == [] == clinics.open_invites(state)
    if state:
        assert texts.overview.invite_next in overview.page(state, "") and texts.clinics.no_clinic in clinics.roster(
            state
        )
    assert "Is it being started?" in overview.page(state, "The hub does not answer. Is it being started?")


def test_next_step_names_offline_and_suspended_clinics():
    run = {
        "name": "run-0001",
        "state": "running",
        "round": 0,
        "reason": "",
        "updates": "",
        "metrics": [],
        "settings": {"rounds": 3, "model": "lite0", "strategy": "fedavg"},
    }
    waiting = {"for_": ["oslo"], "why": "2 of 3 are online", "until": 0, "then": ""}
    state = EMPTY | {"run": run, "progress": IDLE | {"phase": "waiting", "waiting": waiting}}
    away = {
        "oslo": {"state": "offline", "detail": "", "labelled": 3, "metrics": "own"},
        "porto": {"state": "suspended", "detail": "its labels", "labelled": 3, "metrics": "own"},
    }
    page = overview.page(state | {"clinics": away}, "")
    assert (
        texts.overview.switch_on_next.format(names="oslo") in page
        and "its labels" in page
        and "2 of 3 are online" in page
    )
    away["oslo"]["state"] = "online"
    assert texts.overview.suspended_next.format(names="porto") in overview.page(state | {"clinics": away}, "")


def test_end_of_a_run_is_estimated_from_its_rounds():
    run = {
        "name": "run-0001",
        "state": "running",
        "round": 4,
        "reason": "",
        "updates": "",
        "metrics": [],
        "settings": {"rounds": 10, "model": "lite0", "strategy": "fedavg"},
    }
    state = EMPTY | {"run": run, "progress": IDLE | {"phase": "training", "round": 5}}
    assert texts.overview.end_unknown in overview.page(state, "")
    page = overview.page(state | {"pace": {"round_s": 20.0, "rounds": 4, "last": 1000.0}}, "")
    assert 'data-t="1120"' in page and "based on the last 4" in page


def test_metrics_and_intervals_equal_those_in_results_json(sample):
    for split, clinic, day in (("test", "pooled", "all"), ("validation", "oslo", "5")):
        page = results.page(sample, split, clinic, day)
        of = sample["splits"][split]["pooled" if clinic == "pooled" else "clinics"]
        metrics = (of if clinic == "pooled" else of[clinic])[day]
        low, high = metrics["auroc"]["interval"]
        assert f'{metrics["auroc"]["value"]:.3f} <span class="interval">({low:.2f} to {high:.2f})' in page
        confusion = metrics["confusion"]
        assert f"<td>{confusion['true_positives']}</td><td>{confusion['false_negatives']}</td>" in page
        assert page.count("<figure") == 3 and page.count(texts.page.research) == 1 and not Tags(page).open
    assert [v for _, v in results.clinics(sample)] == ["pooled", "oslo", "porto"]
    assert [v for _, v in results.days(sample)] == ["all", "3", "5"]


def test_withheld_and_missing_metrics_are_named_and_not_drawn():
    few = results_of({"oslo": {"validation": score_sums(5), "test": score_sums(3, n=6)}})
    assert few["splits"]["test"]["clinics"]["oslo"]["3"]["withheld"]
    page = results.page(few, "test", "oslo", "3")
    assert texts.results.withheld in page and texts.results.too_few in page and "<figure" not in page
    nothing = results_of({})
    for split in ("test", "validation"):
        assert texts.results.nothing in results.page(nothing, split, "pooled", "all")
    assert texts.results.nothing in results.page(few, "test", "gone", "all")
    assert not Tags(results.head("run-0001", nothing)).open


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
    page = runs.estimate(cost)
    assert "about 60 s" in page and "run-0004" in page and "126 MB" in page and texts.cost.scaled in page
    rough = runs.estimate(cost | {"from": "images", "images": 400, "image_s": 0.024})
    assert "rough estimate" in rough and "400" in rough and "24 ms" in rough
    unknown = runs.estimate(cost | {"from": "nothing", "total_s": None, "round_s": None})
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
    assert "6 MB for the one clinic," in (one := runs.estimate(cost)) and "down and up, in one round." in one
    many = runs.estimate(cost | {"clinics": 3, "rounds": 10})
    assert "6 MB for each of 3 clinics," in many and "down and up, in 10 rounds." in many


def test_audit_log_shows_the_beginning_of_a_digest():
    page = hub.audit(
        [{"line": 1, "time": 1.0, "event": "round", "words": f"round=1 model_made={'0123456789abcdef' * 4}"}]
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
    page = compare.compared([one, two])
    assert "scaffold" in page and "0.800" in page and ">lite0<" not in page and page.count("<figure") == 2
    assert page.count("<polygon") == 2  # of AUROC
    assert texts.compare.no_finals in compare.compared([two, two | {"curve": []}])
    assert texts.compare.same in compare.compared([one, one])


def test_form_becomes_run_settings():
    strategy = {"settings": [{"name": "temperature", "default": 4.0}]}
    values = [
        "lite0",
        "fedembryo",
        5,
        2,
        7,
        0,
        0.5,
        0,
        5,
        50,
        3,
        "schedule=constant\n\nlearning_rate = 0.001",
        "2.5",
        "",
        "",
    ]
    assert collected(strategy, *values) == {
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
    values[5], values[7] = 2, 30
    assert collected({}, *values)["min_clinics"] == 2 and collected({}, *values)["round_deadline_s"] == 1800
    values[11] = "rounds"
    with pytest.raises(UserError, match="name=value"):
        collected({}, *values)


def test_hubs_validation_error_becomes_one_readable_message():
    detail = [{"loc": ["body", "days"], "msg": "Input should be less than or equal to 366", "type": "x"}]
    with pytest.raises(UserError, match=r"^days: Input should be less than or equal to 366 \(H2: "):
        raise_for_error(httpx.Response(422, json={"detail": detail}))
    with pytest.raises(UserError, match=r"^There is no run \(H2: "):
        raise_for_error(httpx.Response(400, json={"error": "There is no run"}))
