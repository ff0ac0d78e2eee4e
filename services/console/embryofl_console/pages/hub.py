"""The page Hub: addresses, certificates, remote access, audit log, monitoring."""

import re
import time
from typing import Annotated, Any
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter, Query, Request, Response

from embryofl.errors import UserError
from embryofl_console.context import PageContext, State, is_live
from embryofl_console.texts import texts

SOON_S = 10 * 86_400.0
MOST_ENTRIES = 500
_DIGEST, _SHORT = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b"), "\\1..."  # SHA-256, which stands whole in the file
t = texts.hub


def routes(context: PageContext) -> APIRouter:
    """The page."""
    router = APIRouter()

    @router.get("/hub")
    def hub(
        request: Request, event: str = "", last: Annotated[int, Query(ge=1, le=MOST_ENTRIES)] = 50, verify: bool = False
    ) -> Response:
        shown: dict[str, Any] = {"audit": None, "verdict": None, "error": ""}
        try:
            if not is_live(request) and context.person(request).audits:
                query = urlencode({"event": event, "last": last})
                shown["audit"] = context.client.call("GET", f"/control/audit?{query}")
            if verify:
                shown["verdict"] = context.client.call("GET", "/control/audit/verify")
        except UserError as exc:
            shown["error"] = str(exc)
        links = monitoring(context.settings.grafana_url, context.settings.prometheus_url)
        kinds = [(kind, texts.event.get(kind, kind)) for kind in (shown["audit"] or {"events": []})["events"]]
        shown |= {
            "events": [("", texts.audit.any), *kinds],
            "event": event,
            "last": last,
            "links": links,
            "ending": ending,
            "shortened": shortened,
            "checks": checks(context.follower.now()[1]),
        }
        return context.show(request, "hub", live="/hub", **shown)

    return router


def checks(state: State | None) -> list[tuple[bool, str]]:
    """What the hub can tell of itself and of the clinics' versions: whether all is well, and the sentence that says so."""
    if state is None:
        return []
    fired = {a["alert"]: texts.overview.alert[a["alert"]].format(**a) for a in state["alerts"]}
    old = [c["name"] for c in state["roster"] if c["outdated"]]
    versions = t.outdated.format(names=", ".join(old)) if old else t.versions
    return [(name not in fired, fired.get(name, words)) for name, words in texts.check.items()] + [(not old, versions)]


def ending(moment: float) -> str:
    """What to say of a certificate that ends then: "" while it is far."""
    left = moment - time.time()
    return "" if left > SOON_S else t.soon if left > 0 else t.expired


def shortened(words: str) -> str:
    """With the beginnings of digests alone."""
    return _DIGEST.sub(_SHORT, words)


def monitoring(grafana: str, prometheus: str) -> list[tuple[str, str]]:
    """Titles and addresses of Grafana and Prometheus, where they have one."""
    links = ((t.grafana, grafana), (t.prometheus, prometheus))
    return [(title, url) for title, url in links if urlsplit(url).scheme in ("http", "https")]
