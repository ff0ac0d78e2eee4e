"""The running hub: its state on disk, the thread that conducts runs, and what the API may ask of it."""

import logging
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from embryofl.errors import UserError
from embryofl.invite import Invite
from embryofl.messages import Enrolment, RunSettings, proof_text
from embryofl.wire import Layout, WireError
from embryofl_server.audit import AuditLog
from embryofl_server.blobs import SignedUrls, Uploads
from embryofl_server.checkpoint import Checkpoints
from embryofl_server.exporter import Exporter
from embryofl_server.identity import Identity
from embryofl_server.progress import Progress
from embryofl_server.rounds import Halted, Hub, RoundLoop
from embryofl_server.runs import OVER, Run, Runs
from embryofl_server.settings import HubSettings
from embryofl_server.start import check_settings
from embryofl_server.store import Refused, Store
from embryofl_server.superlink import LinkLost, SuperLink

log = logging.getLogger("embryofl.hub")


class HubService:
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
        self.identity = Identity(state / "identity", settings.names)
        self.store = Store(state / "clinics.db")
        self.runs = Runs(state / "runs")
        self.audit = AuditLog(state / "audit.jsonl")
        self.uploads = Uploads(state / "uploads")
        self.progress = Progress()
        self.urls = SignedUrls(self.identity.url_key, self._admitted)
        self._link = SuperLink(settings.superlink_address, self.identity.ca, self.identity.superexec_secret)
        self._halt, self._wake, self._closing = threading.Event(), threading.Event(), False
        self._stop_asked = ""
        self._present: tuple[float, dict[str, bool]] = (-10.0, {})
        self._exporter = Exporter(self)
        self._conductor = threading.Thread(target=self._conduct, name="conductor", daemon=True)

    def start(self) -> None:
        """Begin to conduct runs; an unfinished one is taken up at once."""
        self.audit.write("hub_started")
        self._exporter.start()
        self._conductor.start()

    def close(self) -> None:
        """Stop between two steps; the run under way goes on at the next start."""
        self._closing = True
        self._halt.set()
        self._wake.set()
        if self._conductor.is_alive():
            self._conductor.join(timeout=5)
        self._exporter.close()
        self.audit.write("hub_stopped")
        self.store.close()

    def _admitted(self, name: str) -> bool:
        clinic = self.store.clinics().get(name)
        return clinic is not None and clinic.state == "enrolled"

    # -- runs -------------------------------------------------------------------------------------------------------
    def start_run(self, values: dict[str, Any], initial: str = "") -> Run:
        """Queue a run; `min_clinics` not given means all enrolled clinics.

        Raises
        ------
        UserError
            When settings, model, strategy or the initial weights cannot be used, or another run is not over.
        """
        enrolled = [c for c in self.store.clinics().values() if c.state == "enrolled"]
        values = {"min_clinics": max(1, len(enrolled)), **values}
        settings = check_settings(values, any_model=bool(initial))
        busy = self.runs.unfinished()
        if busy:
            raise UserError(
                f"{busy.name} is {busy.state['state']} (round {busy.state['round']}). Wait for it, or stop it first."
            )
        run = self.runs.create(settings)
        try:
            self._initial_model(run, settings, initial)
        except UserError:
            shutil.rmtree(run.folder)
            raise
        run.set_state("queued", 0)
        self.audit.write("run_started", run=run.name, settings=settings.model_dump())
        self._wake.set()
        return run

    def _checkpoints(self, run: Run) -> Checkpoints:
        return Checkpoints(run.folder, self.settings.weights / run.name, self.settings.keep_checkpoints)

    def _initial_model(self, run: Run, settings: RunSettings, initial: str) -> None:
        """Round 0. Made in a process of its own, so that the hub never holds PyTorch."""
        path = Path(initial) if initial else run.folder / "initial.safetensors"
        if not initial:
            made = subprocess.run(
                [sys.executable, "-m", "embryofl.models.initial", settings.model, settings.pretrained,
                 str(settings.seed), str(path)],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
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

    def stop_run(self) -> Run:
        """Stop the run under way for good; its last complete round is kept.

        Raises
        ------
        UserError
            When no run is under way.
        """
        run = self.runs.unfinished()
        if run is None:
            raise UserError("No run is under way, so there is nothing to stop.")
        self._stop_asked = run.name
        self._halt.set()
        self._wake.set()
        return run

    def _conduct(self) -> None:
        while not self._closing:
            run = self.runs.unfinished()
            if run is None:
                self._halt.clear()
                self._wake.wait()
                self._wake.clear()
                continue
            try:
                self._conduct_run(run)
            except Exception:  # a defect of ours: the run says so, the hub stays up
                log.exception("%s failed", run.name)
                self._end(run, "failed", "The hub met an error of its own; its log has the details.")

    def _conduct_run(self, run: Run) -> None:
        hub = Hub(self._link, self.store, self.urls, self.uploads, self.progress, self.audit.write)
        try:
            if self._stop_asked == run.name:
                raise Halted
            log.info("%s: %s", run.name, run.settings.model_dump_json())
            run.set_state("running", run.state["round"])
            RoundLoop(hub, run, self._checkpoints(run), self._halt).execute()
            self._end(run, "finished", "")
        except Halted:
            if self._stop_asked == run.name:
                self._halt.clear()
                self._end(run, "stopped", "Stopped by the coordinator.")
        except UserError as exc:
            self._end(run, "failed", str(exc))

    def _end(self, run: Run, state: Any, reason: str) -> None:
        run.set_state(state, run.state["round"], reason)
        self.audit.write("run_ended", run=run.name, state=state, reason=reason)
        log.info("%s %s %s", run.name, state, reason)

    # -- membership -------------------------------------------------------------------------------------------------
    def invite(self, name: str) -> Invite:
        """A one-time invite for a clinic; its secret is not kept."""
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", name) or name == "pooled":
            raise UserError(
                f"{name!r} cannot be a clinic's name. Use up to 40 small letters, digits and hyphens, such as 'lisbon'."
            )
        secret = self.store.invite(name, self.settings.invite_days)
        self.audit.write("invited", clinic=name)
        return Invite(name=name, hubs=self.settings.addresses, ca=self.identity.ca.decode(), secret=secret)

    def enrol(self, request: Enrolment) -> dict[str, Any]:
        """Take a clinic in.

        Raises
        ------
        Refused
            With the reason the clinic is told.
        """
        try:
            key = load_ssh_public_key(request.public_key.encode())
            if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in ("secp384r1", "secp256r1"):
                raise Refused("The public key is not an EC key of 256 or 384 bits.")
            text = proof_text(request.name, request.secret, request.public_key)
            key.verify(bytes.fromhex(request.proof), text, ec.ECDSA(SHA256()))
        except (ValueError, InvalidSignature):
            self.audit.write("enrolment_refused", clinic=request.name, reason="proof")
            raise Refused("The proof that the clinic holds its private key is not valid.") from None
        line = " ".join(request.public_key.split()[:2])  # without the comment, which could be anything
        new = request.name not in self.store.clinics()
        try:
            clinic = self.store.enrol(request.name, request.secret, line, request.meaning, request.summary)
        except Refused as exc:
            self.audit.write("enrolment_refused", clinic=request.name, reason=str(exc))
            raise
        if new:
            self.audit.write("enrolled", clinic=clinic.name, summary=clinic.summary)
            self._admit()
        return {"name": clinic.name, "state": clinic.state}

    def _admit(self) -> None:
        keys = {c.name: c.public_key for c in self.store.clinics().values() if c.state == "enrolled"}
        try:
            self._link.admit(keys)
        except LinkLost as exc:
            log.info("the SuperLink is away (%s): new keys are made known to it when a run begins", exc)

    # -- what people see --------------------------------------------------------------------------------------------
    def status(self) -> dict[str, Any]:
        """Hub, run and clinics in one JSON-able object."""
        run = self.runs.latest()
        now = self.progress.snapshot()
        over = run is None or run.state["state"] in OVER
        present = self.presence() if over else {}
        clinics = {}
        for c in self.store.clinics().values():
            live = None if over else now["clinics"].get(c.name)
            idle = "online" if present.get(c.name) else "offline" if present else c.state
            clinics[c.name] = {
                "state": live["state"] if live else idle,
                "detail": live["detail"] if live else "",
                "enrolled": c.enrolled,
                "labelled": c.labelled,
                "summary": c.summary,
            }
        return {
            "time": time.time(),
            "hub": {"names": self.settings.names, "port": self.settings.public_port},
            "run": self.run_info(run) if run else None,
            "progress": now,
            "clinics": clinics,
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

    def run_info(self, run: Run) -> dict[str, Any]:
        """A run's settings, state and metric lines."""
        return {"name": run.name, **run.state, "settings": run.settings.model_dump(), "metrics": run.metrics()}
