"""Write docs/monitoring.md from the tables of metrics and the alert rules. Usage: python scripts/describe_monitoring.py"""

from pathlib import Path

import yaml

from embryofl.metric_names import HUB, TRAINER

ROOT = Path(__file__).parents[1]
HEAD = """# Monitoring

Under way: hub and clinics export these metrics in `make demo`, and `prometheus/` and `grafana/` hold rules and
dashboards; the services of `compose.yaml` and `make monitor` do not bring Prometheus and Grafana up yet. Made by
`python scripts/describe_monitoring.py` from `embryofl/metric_names.py` and `prometheus/rules/alerts.yml`.

Nothing about a patient or an image is ever a label.
"""


def table(title: str, metrics: dict) -> str:
    rows = [f"| `{m.name}` | {m.kind} | {', '.join(m.labels)} | {m.help} |" for m in metrics.values()]
    return f"## {title}\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def main() -> None:
    parts = [HEAD, table("The hub", HUB), table("A clinic's own process", TRAINER), "## Alerts\n"]
    groups = yaml.safe_load((ROOT / "prometheus" / "rules" / "alerts.yml").read_text())["groups"]
    for rule in (r for g in groups for r in g["rules"] if "alert" in r):
        notes, label = rule["annotations"], rule["labels"]["severity"]
        wait = f" for {rule['for']}" if "for" in rule else ""
        parts.append(f"### {rule['alert']}\n\n{notes['summary']} ({label}{wait})\n\n**Do:** {notes['action']}\n")
    (ROOT / "docs" / "monitoring.md").write_text("\n".join(parts))


if __name__ == "__main__":
    main()
