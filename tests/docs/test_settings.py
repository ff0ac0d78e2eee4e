"""docs/settings.md names every setting that the code has, with its default."""

import re

import pytest

from embryofl.settings import RunSettings
from embryofl_clinic.policy.editing import RULES as POLICY_RULES
from embryofl_clinic.policy.rules import Rules
from embryofl_clinic.settings import ClinicSettings
from embryofl_console.settings import ConsoleSettings
from embryofl_server.federation.strategies import local_defaults, strategy, strategy_names
from embryofl_server.monitor.notifier.settings import Mail, NotifierSettings, Webhook
from embryofl_server.settings import HubSettings
from embryofl_tunnel.settings import TunnelSettings
from kits.house import ROOT

PAGE = (ROOT / "docs" / "settings.md").read_text()
MODELS = {  # heading to its model, its prefix, and names that are not the prefix and the field
    "Settings of a run": (RunSettings, "", {}),
    "Hub": (HubSettings, "EMBRYOFL_", {}),
    "Clinic": (ClinicSettings, "EMBRYOFL_", {}),
    "Console": (ConsoleSettings, "EMBRYOFL_CONSOLE_", {}),
    "Notifier": (NotifierSettings, "EMBRYOFL_NOTIFIER_", {}),
    "Tunnel": (TunnelSettings, "EMBRYOFL_", {"remote_addr": "NGROK_REMOTE_ADDR"}),
    "Policy": (Rules, "", {}),
    "Mail": (Mail, "", {}),
    "Webhook": (Webhook, "", {}),
}
NO_FIELDS = {"NGROK_AUTHTOKEN"}  # removed from the environment at once
TESTS_ONLY = {"EMBRYOFL_TEST_SEED", "EMBRYOFL_PICTURES"}


def section(title):
    level = re.search(rf"^(#+) {title}$", PAGE, re.M)[1]
    return re.split(rf"^#{{1,{len(level)}}} ", PAGE.split(f"\n{level} {title}\n")[1], flags=re.M)[0]


def rows(text):
    """Name to default of each row of the tables in a section."""
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) ?\|", text, re.M))


def written(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"{value:g}"
    return f"`{value}`" if value else ""


@pytest.mark.parametrize("title", MODELS)
def test_settings_page_has_every_setting_with_its_default(title):
    model, prefix, others = MODELS[title]
    expected = {
        others.get(name, prefix + (name.upper() if prefix else name)): (
            "" if field.is_required() else written(field.get_default(call_default_factory=True))
        )
        for name, field in model.model_fields.items()
    }
    assert {name: default for name, default in rows(section(title)).items() if name not in NO_FIELDS} == expected


def test_settings_page_explains_each_rule_as_the_clinic_app_does():
    assert list(POLICY_RULES) == re.findall(r"^\| `(\w+)` \|", section("Policy"), re.M)
    for name, rule in POLICY_RULES.items():
        row = re.search(rf"^\| `{name}` \|.*$", section("Policy"), re.M)[0].split(" | ", 2)
        assert row[2].removeprefix("| ").removesuffix(" |") == f"{rule['unit']} | {rule['meaning']}".removeprefix(
            " | "
        ), name


@pytest.mark.parametrize("name", strategy_names())
def test_settings_page_has_every_strategy_with_its_settings(name):
    row = re.search(rf"^\|[^|]*`{name}`[^|]*\|.*$", section("Strategies"), re.M)
    assert row, f"docs/settings.md has no row for strategy {name}"
    settings = {key: field.default for key, field in strategy(name).SETTINGS.model_fields.items()}
    numbers = {key: value for key, value in local_defaults(name).items() if not isinstance(value, str)}
    for key, value in (settings | numbers).items():
        assert re.search(rf"`{key}` (to |\(){value:g}\b", row[0]), (key, value)


def test_settings_page_has_every_environment_variable_that_programs_and_scripts_read():
    files = [
        *ROOT.glob("compose*.yaml"),
        ROOT / "Makefile",
        *(ROOT / "scripts").glob("*"),
        *(ROOT / "grafana").rglob("*.yml"),
    ]
    files += [
        p for p in (ROOT / "services").rglob("*") if p.suffix in (".py", ".sh") or p.name in ("Caddyfile", "Dockerfile")
    ]
    read = {
        name for path in files if path.is_file() for name in re.findall(r"\bEMBRYOFL_[A-Z_]*[A-Z]\b", path.read_text())
    }
    listed = set((ROOT / "services/common/embryofl/environment.txt").read_text().split())
    assert read | TESTS_ONLY <= listed  # all others are refused
    assert listed - TESTS_ONLY == set(re.findall(r"\bEMBRYOFL_[A-Z_]*[A-Z]\b", PAGE))
