"""Grafana's provisioning files use only known fields, and fit compose.yaml, `make monitor` and the dashboards.

Grafana ignores unknown fields, so a typo would show only as a data source that can be edited, or as a missing page. The
fields are those of Grafana's documentation on provisioning, version 13.
"""

import json
import re

import jsonschema
import pytest
import yaml

TEXT, YES, NO = {"type": "string", "minLength": 1}, {"const": True}, {"const": False}


def only(required, **optional):
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        "additionalProperties": False,
    }


def several(item):
    return {"type": "array", "items": item, "minItems": 1}


SCHEMAS = {
    "datasources/prometheus.yml": only(
        {
            "apiVersion": {"const": 1},
            "datasources": several(
                only(
                    {
                        "name": TEXT,
                        "uid": TEXT,
                        "type": {"const": "prometheus"},
                        "access": {"const": "proxy"},
                        "url": TEXT,
                        "basicAuth": YES,
                        "basicAuthUser": TEXT,
                        "secureJsonData": only({"basicAuthPassword": TEXT}),
                        "isDefault": YES,
                        "editable": NO,
                    },
                    orgId={"type": "integer"},
                    jsonData=only(
                        {}, timeInterval=TEXT, httpMethod={"enum": ["GET", "POST"]}, manageAlerts={"type": "boolean"}
                    ),
                )
            ),
        },
        prune=YES,
    ),
    "dashboards/embryofl.yml": only(
        {
            "apiVersion": {"const": 1},
            "providers": several(
                only(
                    {
                        "name": TEXT,
                        "type": {"const": "file"},
                        "disableDeletion": YES,
                        "allowUiUpdates": NO,
                        "options": only({"path": TEXT}, foldersFromFilesStructure={"type": "boolean"}),
                    },
                    orgId={"type": "integer"},
                    folder={"type": "string"},
                    folderUid=TEXT,
                    updateIntervalSeconds={"type": "integer"},
                )
            ),
        }
    ),
}


@pytest.fixture
def provisioning(root):
    """Content of each file, by its path."""
    folder = root / "grafana" / "provisioning"
    return {str(p.relative_to(folder)): yaml.safe_load(p.read_text()) for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def grafana(root):
    return yaml.safe_load((root / "compose.yaml").read_text())["services"]["grafana"]


def test_grafana_knows_every_field(provisioning):
    assert set(provisioning) == set(SCHEMAS)
    for path, content in provisioning.items():
        jsonschema.validate(content, SCHEMAS[path])


def test_dashboards_use_the_provisioned_data_source(provisioning, root):
    source = provisioning["datasources/prometheus.yml"]["datasources"][0]
    scrape = yaml.safe_load((root / "prometheus" / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scrape
    for path in (root / "grafana" / "dashboards").glob("*.json"):
        assert set(re.findall(r'"uid": "([^"]+)"', path.read_text())) == {
            source["uid"],
            json.loads(path.read_text())["uid"],
        }


def test_every_variable_is_set_in_containers_and_by_make_monitor(provisioning, grafana, root):
    used = set(re.findall(r"\$\{?([A-Z]\w+)", json.dumps(provisioning)))
    assert used == {"EMBRYOFL_PROMETHEUS_URL", "EMBRYOFL_PROMETHEUS_PASSWORD_FILE", "EMBRYOFL_DASHBOARDS"}
    printed = (root / "scripts" / "monitor.sh").read_text()
    assert used <= set(grafana["environment"]) and all(f"{name}=" in printed for name in used)


def test_mounts_match_grafanas_settings(grafana):
    mounted = {target: source for source, target, *_ in (v.split(":") for v in grafana["volumes"])}
    environment = grafana["environment"]
    assert mounted[environment["GF_PATHS_PROVISIONING"]] == "./grafana/provisioning"
    assert mounted[environment["EMBRYOFL_DASHBOARDS"]] == "./grafana/dashboards"
    assert environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].startswith(environment["EMBRYOFL_DASHBOARDS"])
    assert all(v.endswith(":ro") for v in grafana["volumes"] if v.startswith("./"))


def test_grafana_needs_the_password_and_fetches_nothing_at_start(grafana):
    environment = grafana["environment"]
    assert (
        environment["GF_SECURITY_ADMIN_PASSWORD__FILE"].startswith("/run/secrets/")
        and "GF_SECURITY_ADMIN_PASSWORD" not in environment
    )
    for name in (
        "AUTH_ANONYMOUS_ENABLED",
        "USERS_ALLOW_SIGN_UP",
        "PUBLIC_DASHBOARDS_ENABLED",
        "PLUGINS_PREINSTALL_AUTO_UPDATE",
    ):
        assert environment[f"GF_{name}"] == "false"
    assert environment["GF_PLUGINS_PREINSTALL_DISABLED"] == "true"
    assert all(port.startswith("127.0.0.1:") for port in grafana["ports"])
    assert re.fullmatch(r"grafana/grafana:\d+\.\d+\.\d+@sha256:[0-9a-f]{64}", grafana["image"])


def test_prometheus_asks_for_a_login_and_is_not_published_unless_a_port_is_named(root):
    """Users of the hub's machine reach its address in any case."""
    services = yaml.safe_load((root / "compose.yaml").read_text())["services"]
    prometheus, web = services["prometheus"], "--web.config.file=/run/secrets/prometheus-web"
    assert web in prometheus["command"] and "prometheus-web" in prometheus["secrets"] and "ports" not in prometheus
    published = yaml.safe_load((root / "compose.prometheus.yaml").read_text())["services"]["prometheus"]
    assert list(published) == ["ports"] and all(port.startswith("127.0.0.1:") for port in published["ports"])
    used = '[ -z "${EMBRYOFL_PROMETHEUS_PORT:-}" ] || files+=(-f compose.prometheus.yaml)'
    assert used in (root / "scripts" / "compose.sh").read_text()
    login = yaml.safe_load((root / "prometheus" / "login.yml").read_text())["basic_auth"]
    assert login["username"] == "embryofl" and login["password_file"] == "/run/secrets/prometheus-password"
