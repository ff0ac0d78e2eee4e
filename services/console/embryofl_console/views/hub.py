"""The page Hub: addresses, certificates, remote access, audit log."""

import re
import time
from typing import Any
from urllib.parse import urlsplit

from embryofl_console.texts import texts
from embryofl_console.views.parts import e, facts, p, table, when

State = dict[str, Any]
SOON_S = 30 * 86_400.0
_DIGEST, _SHORT = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b"), "\\1..."  # SHA-256, which stands whole in the file
t = texts.hub


def connection(state: State | None) -> str:
    """Addresses, certificates, tunnel, version."""
    if state is None:
        return p(texts.page.loading)
    hub = state["hub"]
    pairs = [
        (t.addresses, _codes(hub["addresses"]) or "-"),
        (t.port, e(hub["port"])),
        (t.certificate_names, _codes(hub["certificate_names"])),
        (t.certificate_ends, _ends(hub["certificate_ends"])),
        (t.authority_ends, _ends(hub["authority_ends"]) + _rotating(hub)),
        (t.tunnel, _tunnel(hub["tunnel"])),
        (t.approval, e(texts.approval.get(hub["approval"], hub["approval"]))),
        (t.version, e(hub["version"])),
    ]
    return facts(pairs)


def _codes(values: list[str]) -> str:
    return ", ".join(f"<code>{e(v)}</code>" for v in values)


def _ends(moment: float) -> str:
    if moment - time.time() > SOON_S:
        return when(moment)
    return f'{when(moment)} <span class="state late">{e(t.soon if moment > time.time() else t.expired)}</span>'


def _rotating(hub: State) -> str:
    if not hub["rotating"]:
        return ""
    return f" <span>{e(t.rotating.format(names=', '.join(hub['missing'])) if hub['missing'] else t.rotated)}</span>"


def _tunnel(tunnel: State | None) -> str:
    if tunnel is None:
        return e(t.no_tunnel)
    if not tunnel["up"]:
        return f'<span class="state offline">{e(t.down)}</span> {e(tunnel["words"])}'
    before = " " + t.before.format(before=tunnel["before"]) if tunnel["before"] else ""
    return f'<span class="state online">{e(t.up)}</span> <code>{e(tunnel["address"])}</code>{e(before)}'


def monitoring(grafana: str, prometheus: str) -> str:
    """Links to Grafana and Prometheus."""
    links = [
        f'<li><a href="{e(url)}" rel="noreferrer noopener" target="_blank">{e(title)}</a> <code>{e(url)}</code></li>'
        for title, url in ((t.grafana, grafana), (t.prometheus, prometheus))
        if urlsplit(url).scheme in ("http", "https")
    ]
    shown = f'<ul class="files">{"".join(links)}</ul>' if links else p(t.no_monitoring)
    return f"<h3>{e(t.monitoring)}</h3>{shown}"


def audit(entries: list[State]) -> str:
    """Events, the newest first."""
    if not entries:
        return p(texts.audit.none)
    rows = [
        [
            e(entry["line"]),
            when(entry["time"]),
            e(texts.event.get(entry["event"], entry["event"])),
            f"<code>{e(_DIGEST.sub(_SHORT, entry['words']))}</code>",
        ]
        for entry in reversed(entries)
    ]
    return table(texts.audit.columns, rows, texts.audit.title, "tall", headed=True)


def verified(verdict: State) -> str:
    """Whether the audit log is intact."""
    kind, text = ("done", texts.audit.intact) if verdict["whole"] else ("trouble", texts.audit.broken)
    return f'<p class="{kind}" role="status"><strong>{e(text)}</strong> {e(verdict["words"])}</p>'
