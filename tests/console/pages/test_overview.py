"""The page Overview."""

from pathlib import Path

import embryofl_web
from embryofl_console.texts import texts
from embryofl_server.runs.tallies import MOST_OF_CLINIC
from kits.console_pages import EMPTY, IDLE, Tags, running, show_overview


def test_next_step_names_offline_and_suspended_clinics():
    waiting = {"for_": ["oslo"], "why": "2 of 3 are online", "until": 0, "then": ""}
    state = EMPTY | {"run": running(round=0), "progress": IDLE | {"phase": "waiting", "waiting": waiting}}
    away = {
        "oslo": {"state": "offline", "detail": "", "labelled": 3, "metrics": "own"},
        "porto": {"state": "suspended", "detail": "its labels", "labelled": 3, "metrics": "own"},
    }
    page = show_overview(state | {"clinics": away})
    assert texts.overview.switch_on_next.format(names="oslo") in page
    assert "its labels" in page and "2 of 3 are online" in page
    away["oslo"]["state"] = "online"
    assert texts.overview.suspended_next.format(names="porto") in show_overview(state | {"clinics": away})


def test_end_of_a_run_is_estimated_from_its_rounds():
    state = EMPTY | {"run": running(10, round=4), "progress": IDLE | {"phase": "training", "round": 5}}
    assert texts.overview.end_unknown in show_overview(state)
    page = show_overview(state | {"pace": {"round_s": 20.0, "rounds": 4, "last": 1000.0}})
    assert 'datetime="1970-01-01T00:18:40Z"' in page and "based on the last 4" in page


def test_first_page_shows_who_holds_the_round_alerts_events_and_curves_of_clinics():
    auroc = {"auroc": 0.6, "auroc_se": 0.05, "auroc_blur": 0.0}
    run = running(metrics=[{"clinic": "oslo", "split": "validation", "day": None, **auroc}])
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
    assert "A reply of porto was rejected in the last ten minutes: norm." in page
    assert 'href="/clinic?name=porto"' in page and "Person added: ana" in page
    assert "Round completed: run-0001, round 1" in page and "Clinic suspended: porto (its labels)" in page
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
    run = running(100, round=99, metrics=[line | {"clinic": name} for name in names])
    clinic = {"state": "training", "since": 7, "detail": "", "labelled": 400, "metrics": "own"}
    progress = {"round": 100, "phase": "training", "waiting": None, "deadline": 9e9, "round_began": 5, "needed": 40}
    state = EMPTY | {"run": run, "progress": progress, "clinics": dict.fromkeys(names, clinic)}
    page = show_overview(state | {"courses": {"pooled": course} | clinics})
    files = sum(len((Path(embryofl_web.__file__).parent / "static" / n).read_bytes()) for n in ("web.css", "web.js"))
    assert len(page) + files < 150_000
