"""Runs one after another: queueing, starting, pausing, resuming and stopping them, and the thread that conducts them."""

import contextlib
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embryofl.errors import UserError, with_code
from embryofl.settings import RunSettings
from embryofl.states import OVER
from embryofl.wire import Layout, WireError
from embryofl_server.federation import external, final_model
from embryofl_server.federation.checkpoint import Checkpoints
from embryofl_server.federation.loop import RoundLoop
from embryofl_server.federation.privacy_audit import PrivacyAudit
from embryofl_server.federation.run_context import Halted, RunContext
from embryofl_server.federation.run_settings import check_run
from embryofl_server.runs.log import Run, Runs, State
from embryofl_server.runs.metrics_seen import metrics_seen
from embryofl_server.runs.updates_seen import updates_seen
from embryofl_server.runs.view import RunView, read_record

log = logging.getLogger("embryofl.hub")


class Conductor:
    """Conducts a hub's runs.

    Parameters
    ----------
    runs : Runs
    context : RunContext
        What each run works with.
    weights : Path
        Folder of the global models.
    keep_checkpoints : int
        How many rounds' weights of a run are kept.
    """

    def __init__(self, runs: Runs, context: RunContext, weights: Path, keep_checkpoints: int) -> None:
        self._runs, self._context, self._weights, self._keep = runs, context, weights, keep_checkpoints
        self._halt, self._wake, self._closing = threading.Event(), threading.Event(), False
        self._requests: dict[str, tuple[State, str]] = {}  # of a run: the state it is to take, and who asked for it
        self._audits: dict[str, str] = {}  # runs that are to be audited, and who asked for it
        self._audit_problems: dict[str, str] = {}
        self._order = threading.Lock()  # between the API's threads
        self._thread = threading.Thread(target=self._conduct, name="conductor", daemon=True)

    def start(self) -> None:
        """Begin; an unfinished run is resumed at once."""
        self._thread.start()

    def close(self) -> None:
        """Stop between two steps; the run under way is resumed at the next start."""
        with self._order:
            self._closing = True
            self._halt.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    # -- the coordinator's commands ---------------------------------------------------------------------------------
    def queue(self, values: dict[str, Any], initial: str = "", by: str = "") -> Run:
        """Queue a run; `min_clinics` defaults to all clinics that take part. It starts when those before it have ended.
        `UserError` if settings, model, strategy or the initial weights cannot be used, or clinics would not mask updates to
        the initial model because they have done so in another run."""
        settings = check_run(values, self._context.store, any_model=bool(initial))
        releases = self._context.store.releases(settings.clinics)
        with self._order:
            run = self._runs.create(settings)
            try:
                self._save_initial_model(run, settings, initial)
                self._check_not_summed_before(run, settings)
            except UserError:
                shutil.rmtree(run.folder)
                raise
            run.set_state("queued", 0)
        shown = settings.model_dump()
        seen = {"updates": updates_seen(shown), "metrics": metrics_seen(releases, pooled_every=settings.pooled_every)}
        clinics = list(settings.clinics or sorted(releases))
        self._context.audit("run_started", run=run.name, clinics=clinics, settings=shown, **seen, by=by)
        self._wake.set()
        return run

    def validate(self, name: str, clinics: Sequence[str], by: str = "") -> Run:
        """Queue the external validation of a finished run's model at clinics that had no part in it, before runs that are
        newer. `UserError` as `external.check`."""
        run, clinics = self._runs.get(name), sorted({*clinics})
        with self._order:
            origin = external.check(run, clinics, self._context.store, self._runs)
            model = RunView(run).model()
            self._checkpoints(run).forget_masked(model["round"])
            external.note(run, clinics, by, origin)
            run.set_state("queued", run.state["round"], f"External validation at {', '.join(clinics)}.")
        self._context.audit("validation_started", run=name, clinics=clinics, sha256=model["sha256"], by=by)
        self._wake.set()
        return run

    def stop(self, name: str = "", by: str = "") -> Run:
        """Stop a run for good, by default the one under way; its last complete round is kept. An external validation is
        dropped, and its run stays finished. `UserError` if there is none, or it is over."""
        return self._interrupt(name, "stopped", by, "stop")

    def pause(self, name: str = "", by: str = "") -> Run:
        """Pause a run, by default the one under way. The interrupted round is repeated when it is resumed. `UserError` if
        there is none, or it is over or paused."""
        return self._interrupt(name, "paused", by, "pause")

    def _interrupt(self, name: str, state: State, by: str, verb: str) -> Run:
        run = self._runs.get(name) if name else self._runs.current()
        now = run.state["state"] if run else ""
        if run is None or (now in OVER and not name):
            raise UserError("R2", f"No run is under way, so there is nothing to {verb}.")
        if now in OVER or now == state:
            raise UserError("R2", f"{run.name} is {now}, so there is nothing to {verb}.")
        with self._order:
            if run == self._runs.next():
                self._requests[run.name] = (state, by)
                self._halt.set()
                self._wake.set()
            else:
                self._set_interrupted(run, state, by)
        return run

    def resume(self, name: str = "", by: str = "") -> Run:
        """Queue a paused run again, by default the newest paused one. It resumes after its last complete round. `UserError`
        if there is none, or it is not paused."""
        paused = [r for r in self._runs.all() if r.state["state"] == "paused"]
        run = self._runs.get(name) if name else (paused[-1] if paused else None)
        if run is None:
            raise UserError("R2", "No run is paused, so there is nothing to resume.")
        if run not in paused:
            raise UserError("R2", f"{run.name} is {run.state['state']}, not paused.")
        run.set_state("queued", run.state["round"])
        self._context.audit("run_continued", run=run.name, by=by)
        self._wake.set()
        return run

    def audit(self, name: str, by: str = "") -> None:
        """Audit a run's final model once no run is under way. `UserError` if the run has none, or is not over."""
        run = self._runs.get(name)
        if run.state["state"] not in OVER or not (run.folder / "model.json").exists():
            raise UserError("R2", f"{name} is {run.state['state']}. Expected a run that is over and has a final model.")
        with self._order:
            self._audit_problems.pop(name, None)
            self._audits.setdefault(name, by)
        self._wake.set()

    def audit_state(self, name: str) -> dict[str, Any]:
        """Of a run's audit: whether it is `under_way`, and the `problem` that has ended it, or ""."""
        with self._order:
            return {"under_way": name in self._audits, "problem": self._audit_problems.get(name, "")}

    @contextlib.contextmanager
    def between_runs(self, then: str) -> Iterator[None]:
        """Keep runs from beginning meanwhile. `UserError`, ending with `then`, if one is under way."""
        with self._order:
            run = self._runs.next()
            if run is not None:
                raise UserError("R2", f"{run.name} is under way. {then}")
            yield

    # -- the thread -------------------------------------------------------------------------------------------------
    def _conduct(self) -> None:
        while not self._closing:
            run = self._runs.next()
            if run is None:
                if audited := next(iter(self._audits), ""):
                    self._conduct_audit(audited)
                    continue
                self._wake.wait()
                self._wake.clear()
                continue
            try:
                self._conduct_run(run)
            except Exception:  # a defect of ours: the run's state reports it, the hub stays up
                log.exception("%s failed", run.name)
                self._end(run, "failed", with_code("R7", "Internal error in the hub. See the hub's log for details."))

    def _conduct_run(self, run: Run) -> None:
        try:
            with self._order:
                if self._closing or run.name in self._requests:
                    raise Halted
                self._halt.clear()  # set for a run that ended just as it was to be stopped
            log.info("%s: %s", run.name, run.settings.model_dump_json())
            run.set_state("running", run.state["round"])
            loop, job = RoundLoop(self._context, run, self._checkpoints(run), self._halt), external.pending(run)
            reason = loop.validate(job) if job else loop.execute()
            self._end(run, "finished", reason)
        except Halted:
            with self._order:
                if run.name in self._requests:
                    self._set_interrupted(run, *self._requests[run.name])
        except UserError as exc:
            self._end(run, "failed", str(exc))
        finally:
            self._requests.pop(run.name, None)

    def _conduct_audit(self, name: str) -> None:
        problem, run = "", self._runs.get(name)
        try:
            with self._order:
                if self._closing:
                    raise Halted
                self._halt.clear()
            audit = PrivacyAudit(self._context, run, self._checkpoints(run), self._halt).execute()
            clinics = sorted({*audit["clinics"], *audit["own"]})
            self._context.audit(
                "run_audited", run=name, clinics=clinics, declined=audit["declined"], by=self._audits[name]
            )
        except Halted:
            problem = with_code("R2", f"The audit of {name} was interrupted. Ask for it again.")
        except UserError as exc:
            problem = str(exc)
        except Exception:  # a defect of ours: the audit's state reports it, the hub stays up
            log.exception("the audit of %s failed", name)
            problem = with_code("R7", "Internal error in the hub. See the hub's log for details.")
        finally:
            with self._order:
                del self._audits[name]
                self._audit_problems[name] = problem

    def _set_interrupted(self, run: Run, state: State, by: str) -> None:
        if state == "paused":
            run.set_state("paused", run.state["round"], "Paused by the coordinator.")
            self._context.audit("run_paused", run=run.name, round=run.state["round"], by=by)
            log.info("%s paused", run.name)
        else:
            self._end(run, state, "Stopped by the coordinator.", by)

    def _end(self, run: Run, state: State, reason: str, by: str = "") -> None:
        if job := external.pending(run):
            self._end_validation(run, job, reason, by)
            return
        if state != "finished":
            self._keep_model(run, state, reason)
        run.set_state(state, run.state["round"], reason)
        self._context.audit("run_ended", run=run.name, state=state, reason=reason, **({"by": by} if by else {}))
        log.info("%s %s %s", run.name, state, reason)

    def _end_validation(self, run: Run, job: dict[str, Any], reason: str, by: str) -> None:
        """The run is finished, as before."""
        clinics = job["clinics"]
        words = f"External validation at {', '.join(clinics)}: {reason}" if reason else job["reason"]
        run.set_state("finished", run.state["round"], words)
        external.forget(run)
        self._context.audit(
            "validation_ended", run=run.name, clinics=clinics, reason=reason, **({"by": by} if by else {})
        )
        log.info("%s: external validation at %s ended. %s", run.name, ", ".join(clinics), reason)

    # -- models -----------------------------------------------------------------------------------------------------
    def _checkpoints(self, run: Run) -> Checkpoints:
        return Checkpoints(run.folder, self._weights / run.name, self._keep)

    def _save_initial_model(self, run: Run, settings: RunSettings, initial: str) -> None:
        """Round 0. Made in a process of its own, so that the hub never loads PyTorch."""
        path = Path(initial) if initial else run.folder / "initial.safetensors"
        if not initial:
            options = [settings.model, settings.pretrained, str(settings.seed), "1" if settings.grades else "0"]
            command = [sys.executable, "-m", "embryofl.models.initial", *options, str(path)]
            made = subprocess.run(command, capture_output=True, text=True, check=False)
            if made.returncode:
                error = made.stderr.strip().splitlines() or [f"exit code {made.returncode}"]
                raise UserError("M3", f"The initial {settings.model} could not be made: {error[-1]}")
        try:
            packed = np.fromfile(path, np.uint8)
            Layout.parse(packed.data).check(packed)
        except (OSError, WireError) as exc:
            raise UserError(
                "M3",
                f"The initial weights {path} cannot be used ({exc}). Expected a safetensors file written by EmbryoFL.",
            ) from exc
        self._checkpoints(run).save(0, packed, {"clinics": {}, "refused": {}, "initial": initial or settings.model})
        if not initial:
            path.unlink()

    def _check_not_summed_before(self, run: Run, settings: RunSettings) -> None:
        """Raise `UserError` if clinics have summed updates to this initial model before, in a run with other settings: they
        decline to do so again (`embryofl.secagg.ledger`), and the run would only wait."""

        def start_of(run: Run) -> str:
            record = read_record(run.folder / "round-0000.json")
            return str(record["sha256"]) if record else ""

        if not settings.masked_weights:
            return
        for before in self._runs.all():
            summed = before.state["round"] >= 1 and before.settings.masked_weights and before.settings != settings
            if summed and start_of(before) == start_of(run):
                raise UserError(
                    "R1",
                    f"The run would begin from the same model as {before.name}, with other settings. Clinics sum updates "
                    "to one model once, because two sums can tell one clinic's update. Give another seed, or none.",
                )

    def _keep_model(self, run: Run, state: State, reason: str) -> None:
        """Write the model of the last complete round of a run that was stopped or has failed."""
        try:
            model = self._checkpoints(run).latest()
            if model is not None and model.round and not (run.folder / "model.json").exists():
                incomplete = f"The run {'was stopped' if state == 'stopped' else 'has failed'}. {reason}"
                clinics = self._context.store.clinics()
                final_model.write_model(run, model, clinics, incomplete=incomplete)
        except (OSError, UserError) as exc:
            log.error("%s: its final model cannot be written (%s); its checkpoint is kept", run.name, exc)
