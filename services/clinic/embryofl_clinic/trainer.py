"""The warm clinic process: connect, wait for requests, evaluate and train, reply. Reconnects for ever."""

import contextlib
import logging
import math
import threading
import time

import torch
from pydantic import ValidationError

from embryofl.errors import KeysLostError, ProtocolError, UserError, with_code
from embryofl.membership import MembershipStatus, SignedContact
from embryofl.messages import CLINIC_PHASES, MASKING, Request
from embryofl.process import release_freed_memory
from embryofl.schema import explain
from embryofl_clinic.exporter import TrainerMetrics
from embryofl_clinic.joining.client import HubClient
from embryofl_clinic.joining.identity import ClinicIdentity, JoinedHub
from embryofl_clinic.joining.status import GONE, POLL_FAST_S, POLL_GROWTH, POLL_SLOW_S, StatusPoller
from embryofl_clinic.link.fetching import Fetcher
from embryofl_clinic.link.fleet_link import FleetLink, Incoming, KeyRejected, RunGone, Stopped
from embryofl_clinic.link.steps import StepLink
from embryofl_clinic.link.transfer import HttpTransfers
from embryofl_clinic.masking.attempt import Masking
from embryofl_clinic.policy.rules import Policy
from embryofl_clinic.policy.sent import SentLog
from embryofl_clinic.settings import ClinicSettings
from embryofl_clinic.workload.final_results import FinalResults
from embryofl_clinic.workload.request_handler import RequestHandler, Workloads
from embryofl_clinic.workload.transfers import TransferRefused, Transfers

log = logging.getLogger("embryofl.clinic")

RELEASE_S = 20.0  # without a request from the hub
RETRY_FIRST_S, RETRY_MOST_S = 1.0, 30.0  # after a session that failed
WAITING_S = 3.0  # between two attempts while the coordinator has not approved this clinic
GONE_S = 600.0  # the same when the key never works again
KEY_CHECK_S = 1.0  # between two checks for a new key

Channel = FleetLink | StepLink


class Trainer:
    """One clinic at work.

    Parameters
    ----------
    settings : ClinicSettings
    identity : ClinicIdentity
    hub : JoinedHub
    workloads : Workloads
        Gives the workload for a request.
    stop : threading.Event
    metrics : TrainerMetrics, optional
        Records what the trainer does.
    """

    def __init__(
        self,
        settings: ClinicSettings,
        identity: ClinicIdentity,
        hub: JoinedHub,
        workloads: Workloads,
        stop: threading.Event,
        metrics: TrainerMetrics | None = None,
    ) -> None:
        self._settings, self._identity, self._stop = settings, identity, stop
        self._policy = Policy(settings.state_dir, settings.meaning, hub.name)
        self._metrics = metrics or TrainerMetrics(hub.name)
        self._client = HubClient(identity, hub, settings.state_dir, settings.hubs)
        self._clock = self._client.clock
        self._status = StatusPoller(self._client, settings.state_dir)
        self._sent, self._fetcher = SentLog(settings.state_dir), Fetcher(settings.state_dir, self._clock)
        self._handler = RequestHandler(
            workloads, self._policy, self._metrics, settings.state_dir, Masking(settings.state_dir, identity)
        )
        self._final_results = FinalResults(workloads, self._policy, settings.state_dir)
        self._up = False
        self._steps: StepLink | None = None

    def run(self) -> None:
        """Handle requests until the stop event is set."""
        # A model could make numbers below the normal ones, which take longer, of one image alone.
        torch.set_flush_denormal(True)
        delay = RETRY_FIRST_S
        while not self._stop.is_set():
            self._identity.reload()
            link = FleetLink(
                self._client.route,
                self._identity.key,
                self._settings.state_dir,
                self._stop,
                self._on_link_state,
                self._clock,
            )
            try:
                link.connect()
                log.info("connected to %s as %s", self._client.route.hub, self._client.hub.name)
                delay = RETRY_FIRST_S
                self._serve(link, HttpTransfers(self._client.route, self._stop, self._clock))
                continue
            except Stopped:
                continue
            except KeyRejected as exc:
                if self._may_retry_now():
                    continue
                text = (
                    f"the hub does not recognise this clinic's key at the moment ({exc}): it may have just restarted, or "
                    f"the clinic is not enrolled; next attempt in {delay:.0f} s"
                )
                log.warning("%s", with_code("J4", text))
            except Exception:  # nothing that the hub sends ends this process
                log.exception("the session failed; a new one begins in %.0f s", delay)
            finally:
                link.close()
                if self._steps is not None:
                    self._steps.close()
            self._stop.wait(delay)
            delay = min(delay * 1.6, RETRY_MOST_S)

    def _may_retry_now(self) -> bool:
        """After a rejected key: whether the reason is known and gone. Rests first if it is the clinic's state."""
        if self._identity.reload():
            log.info("this clinic's key was changed: connecting with the new one")
            return True
        before = self._clock.offset
        status = self._poll_status(now=True)
        if self._clock.off and self._clock.offset != before:
            return True  # the signature had the wrong time
        if status is None or status.state not in (*GONE, "waiting"):
            return False
        self._metrics.connection(up=False)
        self._rest(WAITING_S if status.state == "waiting" else GONE_S)
        return True

    def _rest(self, seconds: float) -> None:
        """Wait, or until the key changes: `rotate-key` informs the hub before it changes the key here."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._stop.wait(min(KEY_CHECK_S, seconds)):
            if self._identity.reload():
                return

    def _on_link_state(self, state: str, reason: str) -> None:
        up = state == "up"
        self._metrics.connection(up)
        if up != self._up:
            self._up = up
            if up:
                self._status.poll_soon()
            else:
                text = (
                    f"the hub cannot be reached ({self._client.route.troubles() or reason}): retrying until it can. If the "
                    "coordinator names another address: embryofl-clinic hub ADDRESS:PORT"
                )
                log.warning("%s", with_code("C1", text))
        if not up:
            self._reread_hub()

    def _reread_hub(self) -> None:
        """Re-read the state folder while the hub is unreachable: `hub` or `join` may have saved a new address or CA."""
        with contextlib.suppress(UserError):
            if (hub := self._identity.membership) and hub != self._client.hub:
                self._client.move_to(hub)

    # -- membership -------------------------------------------------------------------------------------------------
    def _poll_status(self, *, now: bool = False, wait: bool = False) -> MembershipStatus | None:
        status = self._status.wait_for_work(self._stop) if wait else self._status.poll(now=now)
        if status is not None:
            self._metrics.membership(status.state)
            if status.name != self._client.hub.name:
                self._rename(status.name)
            if status.link is not None:
                self._move(status.link)
        return status

    def _rename(self, name: str) -> None:
        log.warning("the coordinator has renamed this clinic from %s to %s", self._client.hub.name, name)
        self._policy.name = self._metrics.clinic = name
        self._remember(self._client.hub.model_copy(update={"name": name}))

    def _move(self, signed: SignedContact) -> None:
        """Save the hub's new addresses and authority, if an authority that this clinic trusts has signed them."""
        before = self._client.hub
        if not signed.replaces(before):
            self._status.log_unsigned_contact(signed)
            return
        hub = before.with_contact(signed.contact, self._client.route.hub)
        if {*hub.hubs} == {*before.hubs}:
            hub = hub.model_copy(update={"hubs": before.hubs})  # at most their order has changed
        else:
            log.info("the hub is now reached at %s", ", ".join(hub.hubs))
        if hub == before:
            return
        if hub.ca != before.ca:
            log.info("the hub has changed its certificate authority; the new one is now trusted")
        self._remember(hub)

    def _remember(self, hub: JoinedHub) -> None:
        self._identity.remember(hub)
        self._client.move_to(hub)

    # -- requests ---------------------------------------------------------------------------------------------------
    def _serve(self, link: FleetLink, transfers: Transfers) -> None:
        waiting, release_at = None, time.monotonic() + RELEASE_S
        while not self._stop.is_set():
            try:
                waiting = waiting or self._receive(link)
                if waiting is None:
                    status = self._poll_status(wait=self._steps is None)
                    self._fetcher.consider(status.finished if status else None, transfers)
                    if self._steps is None:
                        self._final_results.update()
                        if time.monotonic() > release_at:
                            release_freed_memory()
                            release_at = math.inf
                    continue
                received, waiting = waiting, None
                waiting = self._work_on(link, transfers, *received)
                self._status.poll_soon()
            except RunGone:
                log.info("the run ended before this clinic had replied")
            release_at = time.monotonic() + RELEASE_S

    def _receive(self, link: FleetLink) -> tuple[Channel, Incoming] | None:
        """The next request, and where to reply to it. During a masked round the hub sends requests by `StepLink`."""
        if self._steps is not None and self._steps.closed:
            self._steps = None
        channel = self._steps or link
        incoming = channel.receive()
        return None if incoming is None else (channel, incoming)

    def _work_on(
        self, link: FleetLink, transfers: Transfers, channel: Channel, incoming: Incoming
    ) -> tuple[Channel, Incoming] | None:
        """Reply to a request; returns the next one if it has come already.

        A masked round trains once this clinic has sent its keys. Letters are exchanged meanwhile by another thread.
        """
        request = self.handle(channel, transfers, incoming)
        if request is None or request.kind != "keys":
            return None
        received: list[tuple[Channel, Incoming]] = []
        done = threading.Event()
        letters = threading.Thread(
            target=self._exchange_letters, args=(link, transfers, done, received), name="letters", daemon=True
        )
        letters.start()
        try:
            self._handler.work_ahead(request, transfers)
        except Stopped:
            raise
        except Exception as exc:  # the request to train does it again, and reports the failure
            log.info("round %d: training ahead failed (%s)", request.round, type(exc).__name__)
        finally:
            done.set()
            letters.join()
        return received[0] if received else None

    def _exchange_letters(
        self, link: FleetLink, transfers: Transfers, done: threading.Event, received: list[tuple[Channel, Incoming]]
    ) -> None:
        """Reply to what needs no training until `done`, or until another request has been received."""
        delay = POLL_FAST_S
        while not (done.is_set() or self._stop.is_set() or received):
            try:
                following = self._receive(link)
                if following is None:
                    self._poll_status()
                    if self._steps is None:
                        done.wait(delay)
                        delay = min(delay * POLL_GROWTH, POLL_SLOW_S)
                elif self._is_reply_ready(following[1]):
                    self.handle(following[0], transfers, following[1])
                else:
                    received.append(following)
            except RunGone:
                log.info("the run ended before this clinic had replied")
            except (Stopped, KeyRejected):
                return  # the other thread finds out when it has trained
            except Exception:
                log.exception("letters are exchanged after training")
                return

    def _is_reply_ready(self, incoming: Incoming) -> bool:
        with contextlib.suppress(ValidationError):
            return self._handler.is_reply_ready(Request.model_validate_json(incoming.text))
        return False

    def handle(self, link: Channel, transfers: Transfers, incoming: Incoming) -> Request | None:
        """Do what a request asks for and reply; only `Stopped` and `RunGone` are raised.

        Returns
        -------
        The request, if it was done; None if it was blocked or has failed.
        """
        began = time.monotonic()
        try:
            request = Request.model_validate_json(incoming.text)
        except ValidationError as exc:
            log.error("%s", with_code("C6", f"a request from the hub is not valid: {explain(exc)}"))
            link.report_failure(incoming, "BadRequest", 0.0)
            self._sent.note("failure", len("BadRequest"))
            return None
        try:
            if request.clinic != self._policy.name:  # renamed a moment ago?
                self._poll_status(now=True)
            reply = self._handler.reply_to(request, transfers)
        except Stopped:
            raise
        except Exception as exc:
            _log_failure(request.round, exc)
            kind = type(exc).__name__
            link.report_failure(incoming, kind, time.monotonic() - began)
            self._sent.note("failure", len(kind), request.run, request.round)
            self._metrics.answered("failed")
            return None
        else:
            text = reply.model_dump_json()
            link.reply(incoming, text, time.monotonic() - began)
            self._sent.note_reply(reply, text)
            if request.step_url and not reply.refused:
                if isinstance(link, StepLink):
                    link.url = request.step_url  # the same mailbox, for longer
                else:
                    self._steps = StepLink(self._client.route, request.step_url, self._stop)
            if request.kind in MASKING and not reply.refused:
                return request
            done = "refused" if reply.refused else "trained" if request.kind == "train" else "evaluated"
            self._metrics.answered(done)
            log.info(
                "round %d of %d: %s in %.1f s",
                request.round,
                request.settings.rounds,
                with_code("J9", f"blocked, {reply.refused}") if reply.refused else done,
                sum(seconds for phase, seconds in reply.seconds.items() if phase in CLINIC_PHASES),
            )
            return None if reply.refused else request


def _log_failure(number: int, exc: Exception) -> None:
    """Why a round failed. The text stays here, in the clinic's own log."""
    if isinstance(exc, TransferRefused):
        log.warning("round %d: the hub no longer accepts replies (%s)", number, exc)
    elif isinstance(exc, KeysLostError):
        log.warning("round %d: this clinic was restarted and has lost its keys; the hub asks for new ones", number)
    elif isinstance(exc, ProtocolError):
        log.error("round %d: secure aggregation refused: %s. Nothing was sent", number, exc)
    else:
        log.exception("round %d failed", number, exc_info=exc)
