"""The page Connection: how the hub is reached and known, and what happened to whom."""

import re
import time
from typing import Any
from urllib.parse import urlsplit

from embryofl_console import texts
from embryofl_console.views.parts import e, facts, p, table, when

State = dict[str, Any]
SOON_S = 30 * 86_400.0
_DIGEST, _SHORT = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b"), "\\1..."  # SHA-256, which stands whole in the file


def connection(state: State | None) -> str:
    """Addresses, certificates, tunnel, version."""
    if state is None:
        return p(texts.LOADING)
    hub = state["hub"]
    addresses = ", ".join(f"<code>{e(a)}</code>" for a in hub["addresses"])
    told = [
        (texts.ADDRESSES, addresses or "-"),
        (texts.PORT, e(hub["port"])),
        (texts.CERTIFICATE_NAMES, ", ".join(f"<code>{e(n)}</code>" for n in hub["certificate_names"])),
        (texts.CERTIFICATE_ENDS, _ends(hub["certificate_ends"])),
        (texts.AUTHORITY_ENDS, _ends(hub["authority_ends"]) + _rotating(hub)),
        (texts.TUNNEL, _tunnel(hub["tunnel"])),
        (texts.APPROVAL, e(texts.APPROVALS.get(hub["approval"], hub["approval"]))),
        (texts.VERSION, e(hub["version"])),
    ]
    return facts(told)


def _ends(moment: float) -> str:
    if moment - time.time() > SOON_S:
        return when(moment)
    return f'{when(moment)} <span class="state late">{e(texts.SOON if moment > time.time() else texts.ENDED)}</span>'


def _rotating(hub: State) -> str:
    if not hub["rotating"]:
        return ""
    words = texts.ROTATING.format(names=", ".join(hub["missing"])) if hub["missing"] else texts.ROTATED
    return f" <span>{e(words)}</span>"


def _tunnel(found: State | None) -> str:
    if found is None:
        return e(texts.NO_TUNNEL)
    if found["up"]:
        before = " " + texts.TUNNEL_BEFORE.format(before=found["before"]) if found["before"] else ""
        return f'<span class="state online">{e(texts.TUNNEL_UP)}</span> <code>{e(found["address"])}</code>{e(before)}'
    return f'<span class="state offline">{e(texts.TUNNEL_DOWN)}</span> {e(found["words"])}'


def monitoring(grafana: str, prometheus: str) -> str:
    """Links to what else looks at the hub."""
    links = [
        f'<li><a href="{e(url)}" rel="noreferrer noopener" target="_blank">{e(words)}</a> <code>{e(url)}</code></li>'
        for words, url in ((texts.GRAFANA, grafana), (texts.PROMETHEUS, prometheus))
        if urlsplit(url).scheme in ("http", "https")
    ]
    found = f'<ul class="files">{"".join(links)}</ul>' if links else p(texts.NO_MONITORING)
    return f"<h3>{e(texts.MONITORING)}</h3>{found}"


def audit(entries: list[State]) -> str:
    """Events, the newest first."""
    if not entries:
        return p(texts.NO_ENTRIES)
    rows = [
        [
            e(entry["line"]),
            when(entry["time"]),
            e(texts.EVENTS.get(entry["event"], entry["event"])),
            f"<code>{e(_DIGEST.sub(_SHORT, entry['words']))}</code>",
        ]
        for entry in reversed(entries)
    ]
    return table(texts.AUDIT, rows, texts.AUDIT_TITLE, "tall", headed=True)


def verified(found: State) -> str:
    """Whether the audit log is whole."""
    kind = "done" if found["whole"] else "trouble"
    verdict = texts.WHOLE if found["whole"] else texts.BROKEN
    return f'<p class="{kind}" role="status"><strong>{e(verdict)}</strong> {e(found["words"])}</p>'
