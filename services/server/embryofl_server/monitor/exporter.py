"""The hub's metrics for Prometheus: plain HTTP, on a port of its own that faces only the hub's network.

Nothing is counted here: counters and the model's results come from the runs' files, the round under way from the round
loop, who is online from the SuperLink. So a restart resets nothing, and there is no state to get wrong.

What changes by the second is looked up at each scrape. What comes from the runs' files, by far the larger part, is turned
into text by a thread when they have changed (`REFRESH_S`), so that a scrape of a hundred clinics takes milliseconds
(`bench/scrape.py`).
"""

import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric as Family

from embryofl.exposition import Families
from embryofl_server.members.tunnel import Tunnel
from embryofl_server.monitor.live_metrics import HubItself, add_clinics, add_round
from embryofl_server.monitor.overview import Overview
from embryofl_server.monitor.stored_metrics import stored_metrics
from embryofl_server.settings import HubSettings

log = logging.getLogger("embryofl.exporter")

REFRESH_S = 2.0


class HubCollector:
    """Gathers a hub's metrics.

    Parameters
    ----------
    overview : Overview
    hub : HubItself
    """

    def __init__(self, overview: Overview, hub: HubItself) -> None:
        self._overview, self._hub = overview, hub
        self._lock = threading.Lock()  # scrapes may overlap
        self._stored: tuple[Any, Families] = (None, Families())

    def collect(self) -> Iterator[Family]:
        """All families, as of now (called by a registry)."""
        self.refresh()
        return iter([*self.live(), *self.stored()])

    def refresh(self) -> bool:
        """Read what is new in the runs' files; whether `stored` has changed."""
        with self._lock:
            views = self._overview.views
            runs, current, members = views.all(), views.current(), list(self._overview.now().members)
            key = ([(run.name, run.version) for run in runs], current and current.name, members)
            if self._stored[0] == key:
                return False
            self._stored = (key, stored_metrics(runs, current, members))
            return True

    def stored(self) -> list[Family]:
        """What the runs' files said at the last `refresh`."""
        return list(self._stored[1])

    def live(self) -> list[Family]:
        """What changes by the second."""
        with self._lock:
            out, now = Families(), self._overview.now()
            self._hub.add(out)
            add_round(out, now)
            add_clinics(out, now)
            return list(out)


class _StaticCollector:
    """Families as a registry would give them."""

    def __init__(self, give: Callable[[], list[Family]]) -> None:
        self._give = give

    def collect(self) -> list[Family]:
        return self._give()


class Exporter:
    """Serves a hub's metrics; nothing if the port is 0.

    Parameters
    ----------
    settings : HubSettings
    overview : Overview
    tunnel : Tunnel
    """

    def __init__(self, settings: HubSettings, overview: Overview, tunnel: Tunnel) -> None:
        self._address = settings.metrics_host, settings.metrics_port
        self._collector = HubCollector(overview, HubItself(settings.state_dir, tunnel))
        self._server: ThreadingHTTPServer | None = None
        self._closing = threading.Event()
        self._stored_text = b""
        self._live = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._live)
        self._live.register(_StaticCollector(self._collector.live))

    def registry(self) -> CollectorRegistry:
        """A registry of its own, for a reader that wants samples and not text."""
        registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        registry.register(self._collector)
        return registry

    def text(self) -> bytes:
        """What a scrape gets."""
        return generate_latest(self._live) + self._stored_text

    def refresh(self) -> None:
        """Bring the part from the runs' files up to date."""
        if self._collector.refresh():
            self._stored_text = generate_latest(_StaticCollector(self._collector.stored))

    def start(self) -> None:
        """Listen. A port that is taken is logged and does not keep the hub from its work."""
        host, port = self._address
        if not port:
            return
        try:
            self._server = ThreadingHTTPServer(self._address, _handler(self.text))
        except OSError as exc:
            log.error(
                "No metrics: cannot listen on %s:%d (%s). Free the port, or choose another with EMBRYOFL_METRICS_PORT.",
                host,
                port,
                exc.strerror,
            )
            return
        threading.Thread(target=self._keep_fresh, name="metrics-store", daemon=True).start()
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def _keep_fresh(self) -> None:
        while True:
            try:
                self.refresh()
            except Exception:  # the next round may repair it; the hub's work does not depend on it
                log.exception("the runs' files cannot be read for the metrics")
            if self._closing.wait(REFRESH_S):
                return

    def close(self) -> None:
        """Stop listening."""
        self._closing.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def _handler(text: Callable[[], bytes]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers GET /metrics."""

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/metrics":
                self.send_error(404)
                return
            body = text()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE_PLAIN_0_0_4)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Scrapes are not worth a line each."""

    return Handler
