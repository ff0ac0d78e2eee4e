"""Dashboards, rules and documents use only metrics that the exporters really export, and all of them."""

import json
import re
import subprocess
import sys

import make_dashboards
import pytest

from embryofl_clinic.exporter import METRICS as TRAINER
from embryofl_server.monitor.live_metrics import METRICS as HUB
from kits.process_metrics import PROCESS

WORD = re.compile(r"\b(?:embryofl|process)_\w+")
RECORDED = re.compile(r"\bembryofl:\w+(?::\w+)?")
NOT_SHOWN = {  # exported for custom queries
    "embryofl_hub_start_timestamp_seconds",
    "embryofl_run_info",
    "embryofl_checkpoint_size_bytes",
    "embryofl_trainer_info",
    "embryofl_trainer_contact_timestamp_seconds",
    "embryofl_trainer_answers_total",
    "embryofl_trainer_phase",
    "embryofl_trainer_round",
    "embryofl_trainer_loading_seconds_total",
    "embryofl_trainer_train_loss",
    "embryofl_trainer_examples",
    "embryofl_trainer_reconnects_total",
    "embryofl_clinic_phase_seconds_total",
    "embryofl_rounds_total",
    "embryofl_round_waiting_for",
    "embryofl_trainer_suspended",
}


def strings(value):
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(item)


@pytest.fixture(scope="module")
def root(request):
    return request.config.rootpath


@pytest.fixture(scope="module")
def pages(root):
    return {p.stem: json.loads(p.read_text()) for p in (root / "grafana" / "dashboards").glob("*.json")}


@pytest.fixture(scope="module")
def sources(root, pages):
    """The text of each file of rules and each dashboard, by name."""
    texts = {p.name: re.sub(r"#.*", "", p.read_text()) for p in (root / "prometheus" / "rules").glob("*.yml")}
    return texts | {name: "\n".join(strings(page)) for name, page in pages.items()}


def base(name):
    return re.sub(r"_(bucket|count|sum)$", "", name) if name.startswith("embryofl_round_duration") else name


@pytest.fixture(scope="module")
def exported():
    """Name of each metric of both exporters to its labels."""
    return {name: labels for name, (_, *labels) in {**HUB, **TRAINER}.items()}


def test_hub_exports_all_of_its_table_and_nothing_else(hub):
    hub.service.audit.write("hub_started")
    hub.finish(hub.run(3, refuse={2: {"bert": "late"}}))
    names = {base(s.name) for s in hub.scrape()}
    assert {n for n in names if n.startswith("embryofl_")} == set(HUB)
    assert names - set(HUB) <= set(PROCESS)


def test_rules_and_dashboards_use_only_exported_metrics(root, sources, exported):
    for file, text in sources.items():
        unknown = {n for n in map(base, WORD.findall(text)) if n not in {*exported, *PROCESS}}
        assert not unknown - {"embryofl_recording", "embryofl_alerts"}, f"{file} uses {unknown}"
    recorded = set(re.findall(r"record: (\S+)", (root / "prometheus/rules/recording.yml").read_text()))
    used = {n for text in sources.values() for n in RECORDED.findall(text)}
    assert used == recorded


def test_exported_metrics_are_used_or_listed_as_unused(sources, exported):
    used = {base(n) for text in sources.values() for n in WORD.findall(text)}
    assert exported.keys() - used == NOT_SHOWN - used and exported.keys() >= NOT_SHOWN


def test_labels_in_queries_exist(sources, exported):
    for file, text in sources.items():
        for name, labels in re.findall(r"\b(embryofl_\w+)\{([^}]*)\}", text):
            for label in re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", labels):
                assert label in (*exported[base(name)], "job", "le"), f"{file}: {name} has no label {label}"


def test_documents_tables_of_metrics_are_up_to_date(root):
    checked = subprocess.run([sys.executable, "scripts/metric_tables.py", "--check"], cwd=root, check=False)
    assert checked.returncode == 0
    pages = "\n".join(page.read_text() for page in (root / "docs").glob("*.md"))
    assert not [name for name in (*HUB, *TRAINER) if f"| `{name}` |" not in pages]


def test_dashboards_are_up_to_date_with_their_source(root):
    for name in make_dashboards.PAGES:
        written = (root / "grafana" / "dashboards" / f"{name}.json").read_text()
        assert written == make_dashboards.text_of(name), (
            f"{name}.json is out of date: python grafana/make_dashboards.py"
        )


def test_dashboards_are_read_only_and_each_panel_has_a_description(pages):
    assert set(pages) == {"federation", "clinic", "quality", "operations"}
    for page in pages.values():
        assert page["editable"] is False and "?" not in page["title"]
        assert {a["name"] for a in page["annotations"]["list"]} == {"Runs", "Rejected replies", "Restarts"}
        for panel in page["panels"]:
            if panel["type"] == "row":
                continue
            assert panel["description"] and panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            assert panel["datasource"]["uid"] == "embryofl-prometheus"


def test_panel_without_data_gives_the_reason(pages):
    """Its own words, such as "no clinic has joined yet", instead of Grafana's "No data"."""
    for name, page in pages.items():
        for panel in page["panels"]:
            words = panel.get("fieldConfig", {}).get("defaults", {}).get("noValue", "")
            assert panel["type"] == "row" or len(words.split()) > 1 or words == "nobody", (name, panel["title"])
