"""The running hub: its state on disk, the thread that conducts runs, and what the API may ask of it."""

import logging
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from embryofl.errors import UserError
from embryofl.invite import HUB_NAME, Invite
from embryofl.membership import HubContact
from embryofl.messages import RunSettings
from embryofl.wire import Layout, WireError
from embryofl_server.audit.log import AuditLog
from embryofl_server.federation import final_model
from embryofl_server.federation.blobs import SignedUrls, Uploads
from embryofl_server.federation.checkpoint import Checkpoints
from embryofl_server.federation.lifeline import Halted, RunContext
from embryofl_server.federation.loop import RoundLoop
from embryofl_server.federation.model_distribution import ModelDistribution
from embryofl_server.federation.run_settings import check_settings
from embryofl_server.federation.superlink import LinkLost, SuperLink
from embryofl_server.members.authority import Authority
from embryofl_server.members.identity import HubIdentity
from embryofl_server.members.keys import KeySync
from embryofl_server.members.membership import MembershipService
from embryofl_server.members.presence import LastSeen
from embryofl_server.members.sessions import in_words
from embryofl_server.members.store import ClinicStore
from embryofl_server.members.tunnel import Tunnel
from embryofl_server.monitor.exporter import Exporter
from embryofl_server.runs.log import OVER, NewestMetrics, Run, Runs, State
from embryofl_server.runs.progress import Progress
from embryofl_server.settings import HubSettings
from embryofl_server.state import schema

log = logging.getLogger("embryofl.hub")

TWICE = "its key is used in two places: was it copied?"


class Hub:
    """Everything behind the API.

    Parameters
    ----------
    settings : HubSettings
        Its state folder is made when missing.
    """

    def __init__(self, settings: HubSettings) -> None:
        self.settings = settings
        state = settings.state_dir
        state.mkdir(parents=True, exist_ok=True)
        schema.check_folder(state)
        self.identity = HubIdentity(state / "identity", settings.names, settings.certificate_days)
        self.store = ClinicStore(state / "clinics.db")
        self.runs = Runs(state / "runs")
        self.audit = AuditLog(state / "audit.jsonl", self.store)
        self.uploads = Uploads(state / "uploads")
        self.progress = Progress()
        self.urls = SignedUrls(self.identity.url_key, self._admitted)
        self.finished = ModelDistribution(self.runs, settings.weights, self.urls)
        self._link = SuperLink(settings.superlink_address, self.identity.internal, self.identity.superexec_secret)
        self.door = KeySync(self._link, self.store, lambda: self.runs.next() is None)
        self.authority = Authority(self.identity, self.store, self.audit.write, settings.certificate_days)
        self.tunnel = Tunnel(settings.tunnel_file)
        self.membership = MembershipService(
            self.store,
            self.audit.write,
            self._invite,
            self.door.admit,
            settings.invite_days,
            manual=settings.approval == "manual",
            link=self.link,
            heard=self.authority.heard,
        )
        self._halt, self._wake, self._closing = threading.Event(), threading.Event(), False
        self._asked: dict[str, tuple[State, str]] = {}  # of a run: the state it is to take, and who wants it
        self._order = threading.Lock()  # between the API's threads
        self._newest: NewestMetrics | None = None
        self._present: tuple[float, dict[str, bool]] = (-10.0, {})
        self._seen = LastSeen(state / "last_seen.json")
        self._exporter = Exporter(self)
        self._conductor = threading.Thread(target=self._conduct, name="conductor", daemon=True)

    def start(self) -> None:
        """Begin to conduct runs; an unfinished one is taken up at once."""
        self.audit.write("hub_started")
        self._exporter.start()
        self.door.start()
        self.authority.start()
        self._conductor.start()

    def close(self) -> None:
        """Stop between two steps; the run under way goes on at the next start."""
        with self._order:
            self._closing = True
            self._halt.set()
        self._wake.set()
        if self._conductor.is_alive():
            self._conductor.join(timeout=5)
        self._exporter.close()
        self.door.close()
        self.authority.close()
        self.audit.write("hub_stopped")
        self.store.close()

    def _admitted(self, name: str) -> bool:
        return name in self.store.admitted()

    # -- runs -------------------------------------------------------------------------------------------------------
    def start_run(self, values: dict[str, Any], initial: str = "", by: str = "") -> Run:
        """Queue a run; `min_clinics` not given means all enrolled clinics. It begins when those before it are over.

        Raises
        ------
        UserError
            When settings, model, strategy or the initial weights cannot be used.
        """
        values = {"min_clinics": max(1, len(self.store.admitted())), **values}
        settings = check_settings(values, any_model=bool(initial))
        with self._order:
            run = self.runs.create(settings)
            try:
                self._initial_model(run, settings, initial)
            except UserError:
                shutil.rmtree(run.folder)
                raise
            run.set_state("queued", 0)
        self.audit.write("run_started", run=run.name, settings=settings.model_dump(), by=by)
        self._wake.set()
        return run

    def _checkpoints(self, run: Run) -> Checkpoints:
        return Checkpoints(run.folder, self.settings.weights / run.name, self.settings.keep_checkpoints)

    def _initial_model(self, run: Run, settings: RunSettings, initial: str) -> None:
        """Round 0. Made in a process of its own, so that the hub never holds PyTorch."""
        path = Path(initial) if initial else run.folder / "initial.safetensors"
        if not initial:
            made = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "embryofl.models.initial",
                    settings.model,
                    settings.pretrained,
                    str(settings.seed),
                    "1" if settings.grades else "0",
                    str(path),
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            if made.returncode:
                words = made.stderr.strip().splitlines() or [f"exit code {made.returncode}"]
                raise UserError(f"The initial {settings.model} cannot be made: {words[-1]}")
        try:
            packed = np.fromfile(path, np.uint8)
            Layout.parse(packed.data).check(packed)
        except (OSError, WireError) as exc:
            raise UserError(
                f"The initial weights {path} cannot be used ({exc}). Expected a safetensors file written by EmbryoFL."
            ) from exc
        self._checkpoints(run).save(0, packed, {"clinics": {}, "refused": {}, "initial": initial or settings.model})
        if not initial:
            path.unlink()

    def stop_run(self, name: str = "", by: str = "") -> Run:
        """Stop a run for good, by default the one under way; its last complete round is kept.

        Raises
        ------
        UserError
            When there is no such run, or it is over.
        """
        return self._steer(name, "stopped", by, "stop")

    def pause_run(self, name: str = "", by: str = "") -> Run:
        """Lay a run aside, by default the one under way. The round under way is done again when it goes on.

        Raises
        ------
        UserError
            When there is no such run, or it is over or paused.
        """
        return self._steer(name, "paused", by, "pause")

    def _steer(self, name: str, state: State, by: str, verb: str) -> Run:
        run = self.runs.get(name) if name else self.runs.current()
        now = run.state["state"] if run else ""
        if run is None or (now in OVER and not name):
            raise UserError(f"No run is under way, so there is nothing to {verb}.")
        if now in OVER or now == state:
            raise UserError(f"{run.name} is {now}, so there is nothing to {verb}.")
        with self._order:
            if run == self.runs.next():
                self._asked[run.name] = (state, by)
                self._halt.set()
                self._wake.set()
            else:
                self._lay_down(run, state, by)
        return run

    def continue_run(self, name: str = "", by: str = "") -> Run:
        """Queue a paused run again, by default the newest paused one. It goes on from its last complete round.

        Raises
        ------
        UserError
            When there is no such run, or it is not paused.
        """
        paused = [r for r in self.runs.all() if r.state["state"] == "paused"]
        run = self.runs.get(name) if name else (paused[-1] if paused else None)
        if run is None:
            raise UserError("No run is paused, so there is nothing to go on with.")
        if run not in paused:
            raise UserError(f"{run.name} is {run.state['state']}, not paused.")
        run.set_state("queued", run.state["round"])
        self.audit.write("run_continued", run=run.name, by=by)
        self._wake.set()
        return run

    def _conduct(self) -> None:
        while not self._closing:
            run = self.runs.next()
            if run is None:
                self._wake.wait()
                self._wake.clear()
                continue
            try:
                self._conduct_run(run)
            except Exception:  # a defect of ours: the run says so, the hub stays up
                log.exception("%s failed", run.name)
                self._end(run, "failed", "The hub met an error of its own; its log has the details.")

    def _conduct_run(self, run: Run) -> None:
        membership = self.membership
        hub = RunContext(
            self._link,
            self.store,
            self.urls,
            self.uploads,
            self.progress,
            self.audit.write,
            lambda name, reason: membership.suspend(name, reason, "the gate"),
            membership.idle_at,
        )
        try:
            with self._order:
                if self._closing or run.name in self._asked:
                    raise Halted
                self._halt.clear()  # of one that ended just when it was to be stopped
            log.info("%s: %s", run.name, run.settings.model_dump_json())
            run.set_state("running", run.state["round"])
            reason = RoundLoop(hub, run, self._checkpoints(run), self._halt).execute()
            self._end(run, "finished", reason)
        except Halted:
            with self._order:
                if run.name in self._asked:
                    self._lay_down(run, *self._asked[run.name])
        except UserError as exc:
            self._end(run, "failed", str(exc))
        finally:
            self._asked.pop(run.name, None)

    def _lay_down(self, run: Run, state: State, by: str) -> None:
        if state == "paused":
            run.set_state("paused", run.state["round"], "Paused by the coordinator.")
            self.audit.write("run_paused", run=run.name, round=run.state["round"], by=by)
            log.info("%s paused", run.name)
        else:
            self._end(run, state, "Stopped by the coordinator.", by)

    def _end(self, run: Run, state: State, reason: str, by: str = "") -> None:
        if state != "finished":
            self._keep_model(run, state, reason)
        run.set_state(state, run.state["round"], reason)
        self.audit.write("run_ended", run=run.name, state=state, reason=reason, **({"by": by} if by else {}))
        log.info("%s %s %s", run.name, state, reason)

    def _keep_model(self, run: Run, state: State, reason: str) -> None:
        """The model of the last complete round, for a run that ended before its time."""
        try:
            checkpoints = self._checkpoints(run)
            model = checkpoints.latest()
            if model is not None and model.round and not (run.folder / "model.json").exists():
                words = f"The run {'was stopped' if state == 'stopped' else 'has failed'}. {reason}"
                final_model.write_model(run, model, checkpoints, self.store.clinics(), incomplete=words)
        except (OSError, UserError) as exc:
            log.error("%s: its last model cannot be written (%s); its checkpoint is kept", run.name, exc)

    # -- membership -------------------------------------------------------------------------------------------------
    def rename(self, old: str, new: str, by: str) -> None:
        """Give a clinic another name.

        Raises
        ------
        UserError
            While a run is under way, whose record, order and seeds go by the clinics' names; and as
            `MembershipService.rename`.
        """
        with self._order:
            run = self.runs.next()
            if run is not None:
                raise UserError(
                    f"{run.name} is under way and goes by the clinics' names. Rename {old} when it is over."
                )
            self.membership.rename(old, new, by)

    def _invite(self, name: str, secret: str) -> Invite:
        return Invite(name=name, secret=secret, **self.link().model_dump())

    def link(self) -> HubContact:
        """How clinics reach and know this hub, as of now: invites carry it, and clinics are told."""
        hubs = list(dict.fromkeys([*self.settings.addresses, *self.tunnel.addresses()]))
        return HubContact(hubs=hubs, ca=self.identity.ca.decode(), server_name=HUB_NAME)

    # -- what people see --------------------------------------------------------------------------------------------
    def status(self, *, newest: bool = False) -> dict[str, Any]:
        """Hub, run and clinics in one JSON-able object; of the run all metric lines, or only the `newest` of each kind."""
        run = self.runs.current()
        now = self.progress.snapshot()
        under_way = run is not None and run.state["state"] in ("queued", "waiting", "running")
        present = {} if under_way else self.presence()
        clinics = {}
        known, twice = self.store.clinics(), self.membership.sessions.twice()
        for c in known.values():
            if c.state not in ("enrolled", "suspended"):
                continue
            live = now["clinics"].get(c.name) if under_way else None
            idle = "online" if present.get(c.name) else "offline" if present else c.state
            state, detail = (live["state"], live["detail"]) if live else (idle, "")
            if c.state == "suspended":
                state, detail = "suspended", c.reason
            if c.name in twice:
                detail = f"{TWICE} ({in_words(twice[c.name])})" + (f"; {detail}" if detail else "")
            clinics[c.name] = {
                "state": state,
                "detail": detail,
                "since": c.since if c.state == "suspended" else live["since"] if live else None,
                "enrolled": c.enrolled,
                "labelled": c.labelled,
                "summary": c.summary,
            }
        return {
            "time": time.time(),
            "hub": {
                "names": self.settings.names,
                "port": self.settings.public_port,
                **self.authority.state(),
                "tunnel": self.tunnel.state(),
            },
            "run": self.run_info(run, newest=newest) if run else None,
            "queued": [r.name for r in self.runs.all() if r.state["state"] == "queued" and r != run],
            "paused": [r.name for r in self.runs.all() if r.state["state"] == "paused" and r != run],
            "progress": now,
            "clinics": clinics,
            "to_approve": [c.name for c in known.values() if c.state == "waiting"],
        }

    def presence(self) -> dict[str, bool]:
        """Who is online while no run asks; empty when the SuperLink is away. Looked up at most every 2 s."""
        at, found = self._present
        if time.monotonic() - at > 2.0:
            try:
                found = self._link.presence()
            except LinkLost:
                found = {}
            self._present = (time.monotonic(), found)
        return found

    def last_seen(self, online: Iterable[str] | None = None) -> dict[str, float]:
        """When each clinic was last connected, Unix time in seconds; `online` are those who are, where that is known."""
        return self._seen.note([n for n, there in self.presence().items() if there] if online is None else online)

    def run_info(self, run: Run, *, newest: bool = False) -> dict[str, Any]:
        """A run's settings, state and metric lines (see `status`)."""
        if newest and (self._newest is None or self._newest.run != run):
            self._newest = NewestMetrics(run)
        lines = self._newest.lines() if newest and self._newest else run.metrics()
        return {"name": run.name, **run.state, "settings": run.settings.model_dump(), "metrics": lines}
