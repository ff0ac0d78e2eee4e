"""promtool accepts configuration and rules, and every alert fires when it should and only then."""

import re
import shutil
import subprocess

import make_dashboards
import pytest

from embryofl import states

pytestmark = pytest.mark.integration

IMAGE = "prom/prometheus:v3.5.3"


@pytest.fixture(scope="module", params=["of this machine", "of the image"])
def promtool(request):
    """promtool, where installed: from the system's packages (2.4x, used by `make monitor`) and from the container image."""
    root = request.config.rootpath
    if request.param == "of this machine":
        command, installed = ["promtool"], shutil.which("promtool")
    else:
        command = ["docker", "run", "--rm", "-v", f"{root}:/work:ro", "-w", "/work", "--entrypoint", "promtool", IMAGE]
        look = ["docker", "image", "inspect", IMAGE]
        installed = shutil.which("docker") and subprocess.run(look, capture_output=True, check=False).returncode == 0
    if not installed:
        pytest.skip(f"there is no promtool {request.param}")

    def run(*arguments):
        return subprocess.run([*command, *arguments], cwd=root, capture_output=True, text=True, check=False)

    return run


def test_configuration_is_valid(promtool):
    done = promtool("check", "config", "prometheus/prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["recording", "alerts"])
def test_rules_pass_their_promtool_tests(promtool, name):
    done = promtool("test", "rules", f"prometheus/tests/{name}.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_recording_rule_numbers_clinic_states_in_their_order(root):
    rule = (root / "prometheus/rules/recording.yml").read_text().partition("record: embryofl:clinic_state_number")[2]
    numbers = re.findall(r'state="(\w+)"} \* (\d+)', rule)
    assert numbers == [(state, str(number)) for number, state in enumerate(states.CLINIC, 1)]


def test_every_alert_is_tested_both_ways(root):
    alerts = re.findall(r"alert: (\w+)", (root / "prometheus/rules/alerts.yml").read_text())
    text = (root / "prometheus/tests/alerts.yml").read_text()
    for alert in alerts:
        checks = re.findall(
            rf'alertname="{alert}", alertstate="firing"}}\'\n +eval_time: \w+\n +exp_samples:( \[\])?', text
        )
        assert "" in checks, f"no test in which {alert} fires"
        assert " []" in checks, f"no test in which {alert} does not fire"


def test_every_alert_gives_advice(root):
    rules = (root / "prometheus/rules/alerts.yml").read_text()
    document = (root / "docs" / "monitoring.md").read_text()
    for block in re.split(r"- alert: ", rules)[1:]:
        alert = block.split()[0]
        assert re.search(r"summary: \S", block) and re.search(r"action: \S", block)
        assert f"runbook: docs/monitoring.md#{alert.lower()}" in block
        assert f"### {alert}\n" in document


def test_every_reason_for_a_rejection_has_a_description_and_advice(root):
    """On the dashboards, and in the table of the trouble R5."""
    document = (root / "docs" / "troubleshooting.md").read_text().partition("### R5\n")[2].partition("\n### ")[0]
    advised = {name for row in re.findall(r"^\| (`.*?) \|", document, re.M) for name in re.findall(r"`(\w+)`", row)}
    code = "\n".join(p.read_text() for p in (root / "services" / "server" / "embryofl_server").rglob("*.py"))
    reasons = {"late", "clinic_error", "not_finite", *re.findall(r'ReplyRejected\(\s*"(\w+)"', code)}
    assert len(reasons) > 9 and reasons <= advised <= set(make_dashboards.NAMES["reasons"])
