"""The hub's metrics for Prometheus: plain HTTP, on a port of its own that faces only the hub's network.

Nothing is counted here: counters and the model's figures come from the run store (`history`), the round under way from
`Progress`, who is online from the SuperLink. So a restart resets nothing, and there is no state to get wrong.

What changes by the second is looked up at each scrape. What comes from the store, by far the larger part, is turned into
text by a thread when the store has changed (`REFRESH_S`), so that a scrape of a hundred clinics takes milliseconds
(`bench/scrape.py`).
"""

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric as Family

from embryofl.exposition import Families
from embryofl.membership import MAX_COUNT
from embryofl.messages import PROTOCOL
from embryofl.metric_names import CLINIC_STATES, HUB, ROUND_PHASES, RUN_STATES
from embryofl_server.federation.terms import FIRST_DEADLINE_S
from embryofl_server.members.store import Clinic
from embryofl_server.monitor.run_metrics import store_families
from embryofl_server.runs.history import History, RunHistory

if TYPE_CHECKING:
    from embryofl_server.hub import Hub

log = logging.getLogger("embryofl.exporter")

REFRESH_S = 2.0
_CERTIFICATES = {
    "ca": "ca.crt",
    "internal": "internal.crt",
    "server": "server.crt",
    "superlink": "superlink/superlink.crt",
    "gateway": "gateway/gateway.crt",
}
_DAYS = {str(day) for day in range(15)}


class HubCollector:
    """Gathers a hub's metrics.

    Parameters
    ----------
    hub : Hub
    """

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._history = History(hub.runs, hub.settings.state_dir / "audit.jsonl")
        self._lock = threading.Lock()  # scrapes may overlap
        self._stored: tuple[Any, Families] | None = None
        self._expiry: dict[Path, tuple[int, float]] = {}

    def collect(self) -> Iterator[Family]:
        """All families, as of now (called by a registry)."""
        self.refresh()
        return iter([*self.live(), *self.stored()])

    def refresh(self) -> bool:
        """Read what is new in the store; whether `stored` has changed."""
        with self._lock:
            self._history.refresh()
            key = (self._history.version(), tuple(self._enrolled()))
            if self._stored is not None and self._stored[0] == key:
                return False
            self._stored = (key, store_families(self._history, list(key[1])))
            return True

    def _enrolled(self) -> dict[str, Clinic]:
        return {n: c for n, c in self._hub.store.clinics().items() if c.state in ("enrolled", "suspended")}

    def stored(self) -> list[Family]:
        """What the store said at the last `refresh`."""
        return list(self._stored[1]) if self._stored else []

    def live(self) -> list[Family]:
        """What changes by the second."""
        with self._lock:
            live = Families(HUB)
            self._hub_itself(live)
            self._run_and_round(live)
            self._clinics(live, self._enrolled())
            return list(live)

    def _hub_itself(self, out: Families) -> None:
        out.add("embryofl_hub_info", 1, version("embryofl-server"), str(PROTOCOL))
        out.add("embryofl_hub_starts_total", self._history.starts)
        out.add("embryofl_hub_start_timestamp_seconds", self._history.started)
        disk = shutil.disk_usage(self._hub.settings.state_dir)
        out.add("embryofl_hub_disk_free_bytes", disk.free)
        out.add("embryofl_hub_disk_size_bytes", disk.total)
        tunnel = self._hub.tunnel.state()
        out.add("embryofl_hub_tunnel_up", tunnel is None or tunnel["up"])
        for name, file in _CERTIFICATES.items():
            path = self._hub.identity.folder / file
            if path.exists():
                out.add("embryofl_hub_certificate_expiry_timestamp_seconds", self._expires(path), name)

    def _expires(self, path: Path) -> float:
        changed = path.stat().st_mtime_ns
        if self._expiry.get(path, (0, 0.0))[0] != changed:
            end = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()
            self._expiry[path] = (changed, end)
        return self._expiry[path][1]

    # -- run and round ----------------------------------------------------------------------------------------------
    def _run_and_round(self, out: Families) -> None:
        run = self._history.latest
        out.one_of("embryofl_run_state", RUN_STATES, run.state["state"] if run else "none")
        now = self._hub.progress.snapshot()
        active = run is not None and not run.over
        phase = now["phase"] if active else "idle"
        out.one_of("embryofl_round_phase", ROUND_PHASES, phase)
        out.add("embryofl_run_rounds", run.settings.rounds if run else 0)
        out.add("embryofl_run_rounds_done", run.state["round"] if run else 0)
        out.add("embryofl_run_deadline_seconds", _deadline_s(run, now["deadline_s"]))
        out.add("embryofl_run_grace_seconds", run.settings.grace_s if run else 0)
        out.add("embryofl_round", (now["round"] if phase != "idle" else 0) or (run.state["round"] if run else 0))
        if run:
            s = run.settings
            out.add("embryofl_run_info", 1, run.run.name, s.model, s.strategy)
            out.add("embryofl_run_progress_timestamp_seconds", _moved(run, now))
        began = now["round_began"] if phase != "idle" else 0.0
        out.add("embryofl_round_began_timestamp_seconds", began)
        asking = run is not None and phase in ("training", "evaluating")
        out.add("embryofl_round_deadline_timestamp_seconds", now["deadline"] if asking else 0)
        waiting = now["waiting"] if active else None
        out.add("embryofl_round_wait_end_timestamp_seconds", waiting["until"] if waiting else 0)
        out.add("embryofl_round_waiting_for", len(waiting["for_"]) if waiting else 0)
        self._quorum(out, run if asking or phase == "waiting" else None, phase, now)

    def _quorum(self, out: Families, run: RunHistory | None, phase: str, now: dict[str, Any]) -> None:
        states = [c["state"] for c in now["clinics"].values()]
        wanted = met = possible = 0
        if run and phase == "waiting":
            wanted, met = run.settings.min_clinics, states.count("online")
            possible = met
        elif run:
            wanted = now["needed"]
            met = states.count("done")
            possible = met + sum(state in ("training", "evaluating") for state in states)
        out.add("embryofl_round_quorum_wanted", wanted)
        out.add("embryofl_round_quorum_met", met)
        out.add("embryofl_round_quorum_possible", possible)

    # -- clinics ----------------------------------------------------------------------------------------------------
    def _awaited(self, run: RunHistory | None) -> set[str]:
        waiting = self._hub.progress.snapshot()["waiting"] if run and not run.over else None
        return set(waiting["for_"]) if waiting else set()

    def _clinics(self, out: Families, clinics: dict[str, Clinic]) -> None:
        present = self._hub.presence()
        online = [name for name in clinics if present.get(name)]
        seen = self._hub.last_seen(online)
        run = self._history.latest
        round_ = self._hub.progress.snapshot()["clinics"] if run and not run.over else {}
        awaited, twice = self._awaited(run), self._hub.membership.sessions.twice()
        out.add("embryofl_hub_superlink_up", bool(present) or not clinics)
        out.add("embryofl_clinics_enrolled", len(clinics))
        out.add("embryofl_clinics_online", len(online))
        for name, clinic in clinics.items():
            state = round_[name]["state"] if name in round_ else "online"
            if clinic.state == "suspended":
                state = "suspended"
            elif not present:
                state = "enrolled"
            elif not present.get(name):
                state = "offline"
            elif state == "offline":  # it came back since the round loop last looked
                state = "online"
            out.one_of("embryofl_clinic_state", CLINIC_STATES, state, name)
            out.add("embryofl_clinic_enrolled_timestamp_seconds", clinic.enrolled, name)
            out.add("embryofl_clinic_last_seen_timestamp_seconds", seen.get(name, clinic.enrolled), name)
            out.add("embryofl_clinic_awaited", name in awaited, name)
            out.add("embryofl_clinic_sessions", 2 if name in twice else 1, name)
            _told(out, clinic)


def _deadline_s(run: RunHistory | None, newest: float) -> float:
    """The deadline that is set; one that follows from the clinics' speed is that of the newest round."""
    if run is None:
        return 0.0
    fixed = run.settings.round_deadline_s
    return fixed if fixed != "auto" else newest or FIRST_DEADLINE_S


def _moved(run: RunHistory, now: dict[str, Any]) -> float:
    """When the run last moved on."""
    moments: list[float] = [run.started, run.state["since"], run.last_round.get("time", 0.0), now["round_began"]]
    moments += [c["since"] for c in now["clinics"].values() if c["state"] == "done"]
    return max(moments)


def _told(out: Families, clinic: Clinic) -> None:
    """What a clinic said of its data when it joined: numbers under labels that we know, and nothing else of it."""
    patients, counts = clinic.summary.get("patients"), clinic.summary.get("counts")
    if isinstance(patients, int) and patients <= MAX_COUNT:
        out.add("embryofl_clinic_patients", patients, clinic.name)
    if not isinstance(counts, dict):
        return
    for day, by_label in counts.items():
        for label in ("0", "1", "unlabelled"):
            count = by_label.get(label) if isinstance(by_label, dict) else None
            if day in _DAYS and isinstance(count, int) and count <= MAX_COUNT:
                out.add("embryofl_clinic_embryos", count, clinic.name, day, label)


def make_registry(hub: "Hub") -> CollectorRegistry:
    """A registry of its own for one hub."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(HubCollector(hub))
    return registry


class _StaticCollector:
    """Families as a registry would give them."""

    def __init__(self, give: Callable[[], list[Family]]) -> None:
        self._give = give

    def collect(self) -> list[Family]:
        return self._give()


class Exporter:
    """Serves a hub's metrics; nothing when the port is 0."""

    def __init__(self, hub: "Hub") -> None:
        self._hub, self._collector = hub, HubCollector(hub)
        self._server: ThreadingHTTPServer | None = None
        self._closing = threading.Event()
        self._stored_text = b""
        live = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=live)
        live.register(_StaticCollector(self._collector.live))
        self._live = live

    def text(self) -> bytes:
        """What a scrape gets."""
        return generate_latest(self._live) + self._stored_text

    def refresh(self) -> None:
        """Bring the store's part up to date."""
        if self._collector.refresh():
            self._stored_text = generate_latest(_StaticCollector(self._collector.stored))

    def start(self) -> None:
        """Listen. A port that is taken is said and does not keep the hub from its work."""
        settings = self._hub.settings
        if not settings.metrics_port:
            return
        try:
            self._server = ThreadingHTTPServer((settings.metrics_host, settings.metrics_port), _handler(self.text))
        except OSError as exc:
            log.error(
                "no metrics: %s:%d cannot be listened on (%s). Free the port or choose another with "
                "EMBRYOFL_METRICS_PORT.",
                settings.metrics_host,
                settings.metrics_port,
                exc.strerror,
            )
            return
        threading.Thread(target=self._keep_fresh, name="metrics-store", daemon=True).start()
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def _keep_fresh(self) -> None:
        while True:
            try:
                self.refresh()
            except Exception:  # the next round may put it right; the hub's work does not depend on it
                log.exception("the run store cannot be read for the metrics")
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

        def do_GET(self) -> None:  # noqa: N802
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
