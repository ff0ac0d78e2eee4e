"""The warm clinic process: connect, wait for requests, evaluate and train, answer. Reconnects for ever."""

import contextlib
import logging
import threading
import time

from pydantic import ValidationError

from embryofl.errors import DataError, UserError
from embryofl.membership import HubContact
from embryofl.messages import Reply, Request, round_seed
from embryofl.schema import explain
from embryofl.wire import WireError
from embryofl_clinic.exporter import TrainerMetrics, memory
from embryofl_clinic.joining.clock import HubClock
from embryofl_clinic.joining.identity import ClinicIdentity, JoinedHub
from embryofl_clinic.joining.others import OthersStatistics
from embryofl_clinic.joining.route import Route
from embryofl_clinic.joining.status import GONE, StatusPoller
from embryofl_clinic.link.fetching import Fetcher
from embryofl_clinic.link.fleet_link import FleetLink, Incoming, KeyRejected, RunGone, Stopped
from embryofl_clinic.link.transfer import TransferRefused, Transfers
from embryofl_clinic.policy.rules import Policy, shows_metrics
from embryofl_clinic.policy.sent import SentLog
from embryofl_clinic.settings import ClinicSettings
from embryofl_clinic.workload.embryo import Trained, Workload, WorkloadCache

log = logging.getLogger("embryofl.clinic")

POLL_FAST_S, POLL_SLOW_S, POLL_GROWTH = 0.1, 2.0, 1.1  # about 30 polls (20 s) from fast to slow
REFUSED_FIRST_S, REFUSED_MOST_S = 1.0, 30.0
WAITING_S = 3.0  # between two tries while the coordinator has not approved
GONE_S = 600.0  # the same when the key never works again
KEY_LOOK_S = 1.0  # between two looks whether there is another key


class Trainer:
    """One clinic at work.

    Parameters
    ----------
    settings : ClinicSettings
    identity : ClinicIdentity
    membership : JoinedHub
    bench : WorkloadCache
        Gives the workload for a request; another one can be put in its place to run another workload.
    stop : threading.Event
    metrics : TrainerMetrics, optional
        Told what goes on.
    """

    def __init__(
        self,
        settings: ClinicSettings,
        identity: ClinicIdentity,
        membership: JoinedHub,
        bench: WorkloadCache,
        stop: threading.Event,
        metrics: TrainerMetrics | None = None,
    ) -> None:
        self._settings, self._identity, self._membership = settings, identity, membership
        self._bench, self._stop = bench, stop
        self._policy = Policy(settings.state_dir, settings.meaning, membership.name)
        self._metrics = metrics or TrainerMetrics(membership.name)
        self._clock = HubClock()
        self._route = Route(membership, settings.hubs)
        self._standing = StatusPoller(
            identity,
            membership,
            self._route,
            self._clock,
            self._metrics,
            OthersStatistics(settings.state_dir),
            self._renamed,
            self._told,
            lambda: shows_metrics(settings.state_dir),
        )
        self._sent, self._fetcher = SentLog(settings.state_dir), Fetcher(settings.state_dir, self._clock)
        self._last: tuple[tuple[str, int, str, str], Trained | None, Reply] | None = None
        self._up = False

    def run(self) -> None:
        """Work until told to stop."""
        refused_delay = REFUSED_FIRST_S
        while not self._stop.is_set():
            self._identity.reload()
            link = FleetLink(
                self._route, self._identity.key, self._settings.state_dir, self._stop, self._note_state, self._clock
            )
            transfers = Transfers(self._route, self._stop, self._clock)
            try:
                link.connect()
                log.info("connected to %s as %s", self._route.hub, self._membership.name)
                refused_delay = REFUSED_FIRST_S
                self._serve(link, transfers)
            except Stopped:
                pass
            except KeyRejected as exc:
                if self._identity.reload():
                    log.info("this clinic's key was changed: it connects with the new one")
                    continue
                before = self._clock.offset
                found = self._standing.look(now=True)
                if self._clock.off and self._clock.offset != before:
                    continue  # that was why
                if found is not None and found.state in (*GONE, "waiting"):  # which it has said
                    self._metrics.connection(up=False)
                    self._rest(WAITING_S if found.state == "waiting" else GONE_S)
                    continue
                log.warning(
                    "the hub does not know this clinic's key right now (%s): it may have just restarted, or the clinic is "
                    "not enrolled; next try in %.0f s",
                    exc,
                    refused_delay,
                )
                self._stop.wait(refused_delay)
                refused_delay = min(refused_delay * 1.6, REFUSED_MOST_S)
            except Exception:  # whatever comes from the hub does not end this process
                log.exception("the session broke off; a new one begins in %.0f s", refused_delay)
                self._stop.wait(refused_delay)
                refused_delay = min(refused_delay * 1.6, REFUSED_MOST_S)
            finally:
                link.close()

    def _rest(self, seconds: float) -> None:
        """Wait, or until this clinic's key is another one: `rotate-key` tells the hub before it changes the key here."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._stop.wait(min(KEY_LOOK_S, seconds)):
            if self._identity.reload():
                return

    def _note_state(self, state: str, reason: str) -> None:
        self._metrics.connection(state == "up")
        if (state == "up") != self._up:
            self._up = state == "up"
            if self._up:
                self._standing.soon()
            else:
                log.warning(
                    "the hub cannot be reached (%s): trying again until it can. If the coordinator names another address, "
                    "tell this clinic: embryofl-clinic hub ADDRESS:PORT",
                    self._route.troubles() or reason,
                )
        if not self._up:
            self._look_it_up()

    def _look_it_up(self) -> None:
        """While the hub is away: somebody may have told this clinic's state folder of another address or authority."""
        with contextlib.suppress(UserError):
            found = self._identity.membership
            if found is not None and found != self._membership:
                self._membership = found
                self._standing.membership = found
                self._route.update(_link_of(found))

    def _told(self, link: HubContact) -> None:
        """The hub says how it is reached and known from now on. This came from the hub that this clinic trusts."""
        told = self._membership.told(link, self._route.hub)
        if (
            {*told.hubs} == {*self._membership.hubs}
            and told.ca == self._membership.ca
            and told.server_name == self._membership.server_name
        ):
            return
        log.info("the hub is reached at %s from now on", ", ".join(told.hubs))
        if told.ca != self._membership.ca:
            log.info("the hub's certificate authority has changed, which it says itself: what it says is trusted now")
        self._membership = told
        self._identity.remember(told)
        self._standing.membership = told
        self._route.update(_link_of(told))

    def _renamed(self, name: str) -> None:
        self._membership = self._membership.model_copy(update={"name": name})
        self._standing.membership = self._membership
        self._identity.remember(self._membership)
        self._policy.name = name
        self._metrics.clinic = name

    def _serve(self, link: FleetLink, transfers: Transfers) -> None:
        delay = POLL_FAST_S
        while not self._stop.is_set():
            try:
                incoming = link.receive()
                if incoming is None:
                    found = self._standing.look()
                    self._fetcher.consider(found.finished if found else None, transfers)
                    self._stop.wait(delay)
                    delay = min(delay * POLL_GROWTH, POLL_SLOW_S)
                    continue
                self._handle(link, transfers, incoming)
                self._standing.soon()
            except RunGone:
                log.info("the run ended while a message was in hand")
            delay = POLL_FAST_S

    def _handle(self, link: FleetLink, transfers: Transfers, incoming: Incoming) -> None:
        began = time.monotonic()
        try:
            request = Request.model_validate_json(incoming.text)
        except ValidationError as exc:
            log.error("a request from the hub is not of the agreed form: %s", explain(exc))
            link.answer_failure(incoming, "BadRequest", 0.0)
            return
        try:
            reply = self._answer(transfers, request)
        except Stopped:
            raise
        except TransferRefused as exc:
            log.warning("round %d: the hub takes nothing more for it (%s)", request.round, exc)
            link.answer_failure(incoming, "TransferRefused", time.monotonic() - began)
            self._sent.note("failure", len("TransferRefused"), request.run, request.round)
            self._metrics.answered("failed")
        except Exception as exc:  # the text stays here, in the clinic's own log
            log.exception("round %d failed", request.round)
            link.answer_failure(incoming, type(exc).__name__, time.monotonic() - began)
            self._sent.note("failure", len(type(exc).__name__), request.run, request.round)
            self._metrics.answered("failed")
        else:
            text = reply.model_dump_json()
            link.answer(incoming, text, time.monotonic() - began)
            self._sent.note_answer(reply, text)
            self._metrics.answered("refused" if reply.refused else "trained" if reply.update else "evaluated")
            log.info(
                "round %d of %d: %s in %.1f s%s",
                request.round,
                request.settings.rounds,
                "trained" if reply.update else f"refused, {reply.refused}" if reply.refused else "evaluated",
                time.monotonic() - began,
                f", loss {reply.train_loss:.4f}" if reply.train_loss is not None else "",
            )

    def _answer(self, transfers: Transfers, request: Request) -> Reply:
        key = _work_of(request)
        if self._last is not None and self._last[0] == key:
            return self._repeat(transfers, request)
        head = {"kind": request.kind, "run": request.run, "round": request.round, "layout": request.layout}
        if request.clinic != self._policy.name:  # renamed a moment ago?
            self._standing.look(now=True)
        objection = self._policy.objection(request)
        workload = None
        if not objection:
            try:
                workload = self._bench.get(request)
                objection = self._policy.objection(request, workload.examples)
            except DataError as exc:
                log.error("%s", exc)
                objection = "its data folder cannot be trained on; its own log says why"
        if workload is None or objection:
            return Reply.model_validate({**head, "refused": objection})
        if workload.layout.id != request.layout:
            log.error("the run's model is not the %s this version of the clinic builds", request.settings.model)
            refused = f"this version builds another {request.settings.model}: update the older of hub and clinic"
            return Reply.model_validate({**head, "refused": refused})
        return self._work(transfers, request, workload, head)

    def _work(self, transfers: Transfers, request: Request, workload: Workload, head: dict[str, object]) -> Reply:
        seconds, at, metrics = {}, time.monotonic(), self._metrics

        def lap(name: str, then: str = "idle") -> None:
            nonlocal at
            seconds[name], at = round(time.monotonic() - at, 3), time.monotonic()
            metrics.phase(then)

        metrics.work(request.round, workload.device)
        metrics.phase("download")
        try:
            workload.load(transfers.download(request.model, request.deadline))
            control = transfers.download(request.control, request.deadline) if request.control else None
        except WireError as exc:
            raise TransferRefused(str(exc)) from exc
        metrics.transferred("down", request.model.size + (request.control.size if request.control else 0))
        lap("download", "evaluate")
        splits = ("validation", "test") if request.kind == "evaluate" else ("validation",)
        sums = {s: workload.evaluate(s).suppress(self._policy.min_cell).to_dict() for s in splits}
        seed = round_seed(request.settings.seed, request.round, self._membership.name)
        personal = {}
        # A head is fine-tuned for the final model only; the others are there after every round but the first.
        if request.settings.personal and (request.kind == "evaluate" or request.settings.personal != "head"):
            found = workload.evaluate_personal(request, splits, seed)
            personal = {s: one.suppress(self._policy.min_cell).to_dict() for s, one in found.items()}
        grades = {}
        if request.settings.grades and request.kind == "evaluate":
            grades = {s: workload.evaluate_grades(s, self._policy.min_cell) for s in splits}
        lap("evaluate", "train" if request.kind == "train" else "idle")
        body: dict[str, object] = {**head, **sums, "personal": personal, "grades": grades, "device": workload.device}
        trained = None
        if request.kind == "train":
            trained = workload.train(request, seed) if control is None else workload.train(request, seed, control)
            lap("train", "upload")
            loading = round(metrics.take_loading(), 3)
            body |= {"examples": trained.examples, "train_loss": trained.loss}
            body["update"] = transfers.upload(request.upload_url, trained.packed, request.deadline)
            metrics.transferred("up", len(trained.packed))
            self._sent.note("update", len(trained.packed), request.run, request.round)
            lap("upload")
            seconds["loading"] = loading
            self._policy.count_round()
        body |= {"memory_bytes": memory(workload.device), "reconnects": metrics.reconnects}
        reply = Reply.model_validate({**body, "seconds": seconds})
        self._last = (_work_of(request), trained, reply)
        return reply

    def _repeat(self, transfers: Transfers, request: Request) -> Reply:
        """Asked again for work that is done: the first answer was lost on its way, so only send it again."""
        assert self._last is not None
        _, trained, reply = self._last
        if trained is not None:
            transfers.upload(request.upload_url, trained.packed, request.deadline)
            self._sent.note("update", len(trained.packed), request.run, request.round)
        return reply


def _link_of(membership: JoinedHub) -> HubContact:
    return HubContact(hubs=membership.hubs, ca=membership.ca, server_name=membership.server_name)


def _work_of(request: Request) -> tuple[str, int, str, str]:
    """What makes two requests the same work: run, round, kind, and the model they begin from."""
    return request.run, request.round, request.kind, request.model.sha256
