"""The hub's metrics for Prometheus: plain HTTP with a login, on a port of its own that faces only the hub's network.

Nothing is counted here: counters and the model's results come from the runs' files, the round under way from the round
loop, who is online from the SuperLink. So a restart resets nothing, and there is no state to get wrong.

What changes by the second is looked up at each scrape. What comes from the runs' files, by far the larger part, is turned
into text by a thread when they have changed (`REFRESH_S`), so that a scrape of a hundred clinics takes milliseconds
(`bench/scrape.py`).
"""

import base64
import hmac
import ipaddress
import logging
import secrets
import threading
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, ThreadingWSGIServer, generate_latest

from embryofl.exposition import Families
from embryofl.files import write_atomic
from embryofl_server.members.contact import Contact
from embryofl_server.members.identity import HubIdentity
from embryofl_server.monitor.live_metrics import METRICS, HubItself, add_clinics, add_round
from embryofl_server.monitor.overview import Overview
from embryofl_server.monitor.stored_metrics import stored_metrics
from embryofl_server.settings import HubSettings

log = logging.getLogger("embryofl.exporter")

REFRESH_S = 2.0
USER = "embryofl"  # in prometheus.yml
NAMES = ("localhost", "server")  # the second one is how Prometheus finds the hub in containers


class Exporter:
    """Serves a hub's metrics; nothing if the port is 0."""

    def __init__(self, settings: HubSettings, overview: Overview, identity: HubIdentity, contact: Contact) -> None:
        self._address = settings.metrics_host, settings.metrics_port
        self._given, self._own = settings.metrics_password_file, identity.folder / "metrics.password"
        self._login = b""  # what Prometheus sends
        self._overview, self._hub = overview, HubItself(settings.state_dir, identity, contact)
        self._process = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._process)
        self._lock = threading.Lock()  # scrapes may overlap
        self._stored: tuple[Any, bytes] = (None, b"")
        self._server: WSGIServer | None = None
        self._closing = threading.Event()

    def text(self) -> bytes:
        """What a scrape gets."""
        with self._lock:
            live, now = Families(METRICS), self._overview.now()
            self._hub.add(live)
            add_round(live, now)
            add_clinics(live, now)
        return generate_latest(self._process) + generate_latest(live) + self._stored[1]

    def _respond(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/metrics":
            start_response("404 Not Found", [])
            return []
        if not _is_ours(environ.get("HTTP_HOST", "")):
            start_response("403 Forbidden", [])
            return []
        if not hmac.compare_digest(environ.get("HTTP_AUTHORIZATION", "").encode(), self._login):
            start_response("401 Unauthorized", [("WWW-Authenticate", 'Basic realm="metrics"')])
            return []
        start_response("200 OK", [("Content-Type", CONTENT_TYPE_PLAIN_0_0_4)])
        return [self.text()]

    def refresh(self) -> None:
        """Bring the part that comes from the runs' files up to date."""
        views, members = self._overview.views, list(self._overview.now().members)
        runs, current = views.all(), views.current()
        key = ([(run.name, run.version) for run in runs], current and current.name, members)
        if self._stored[0] != key:
            self._stored = (key, generate_latest(stored_metrics(runs, current, members)))

    def start(self) -> None:
        """Listen. A password that cannot be read or a port that is taken is logged; the hub works without metrics."""
        host, port = self._address
        if not port:
            return
        try:
            password = self._password()
        except OSError as exc:
            log.error(
                "No metrics: %s cannot be read (%s). See EMBRYOFL_METRICS_PASSWORD_FILE.", self._given, exc.strerror
            )
            return
        self._login = b"Basic " + base64.b64encode(f"{USER}:{password}".encode())
        try:
            self._server = make_server(host, port, self._respond, ThreadingWSGIServer, _Quiet)
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

    def _password(self) -> str:
        """The one that was given, or else the hub's own, made at the first start."""
        if self._given is None and not self._own.exists():
            write_atomic(self._own, secrets.token_urlsafe(24).encode(), mode=0o600)
        return (self._given or self._own).read_text().strip()

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


def _is_ours(host: str) -> bool:
    """Whether a request is for this hub by an address or one of its `NAMES`: a web page that makes its own name lead here
    (DNS rebinding) asks for that name."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name in NAMES or bool(ipaddress.ip_address(name))
    except ValueError:
        return False


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Scrapes are not worth a line each."""
