"""Downloads the final models of finished runs in the background, once each, if the policy allows it."""

import logging
import threading
from pathlib import Path

from embryofl.errors import UserError, with_code
from embryofl.membership import FinishedModel
from embryofl_clinic.joining.clock import HubClock
from embryofl_clinic.link.fleet_link import Stopped
from embryofl_clinic.policy.rules import load_rules
from embryofl_clinic.scoring.model_store import MOST_CARD_BYTES, MOST_WEIGHTS_BYTES, ModelStore
from embryofl_clinic.workload.transfers import TransferDamaged, TransferRefused, Transfers

log = logging.getLogger("embryofl.fetching")

WITHIN_S = 900.0


class Fetcher:
    """Puts final models into the clinic's model store.

    Parameters
    ----------
    state_dir : Path
    clock : HubClock

    Attributes
    ----------
    thread : threading.Thread, optional
        The last download.
    """

    def __init__(self, state_dir: Path, clock: HubClock) -> None:
        self._state_dir, self._clock = state_dir, clock
        self._store = ModelStore(state_dir)
        self.thread: threading.Thread | None = None
        self._given_up: set[str] = set()  # cards whose model cannot be used: not downloaded again

    def consider(self, offer: FinishedModel | None, transfers: Transfers) -> None:
        """Download what is offered, in a thread, unless it is here, unwanted or under way."""
        if offer is None or offer.card.sha256 in self._given_up or (self.thread and self.thread.is_alive()):
            return
        try:
            keep = load_rules(self._state_dir).keep_models
        except UserError:
            return  # a policy that cannot be read blocks everything; the trainer logs it
        if keep == 0 or self._store.has(offer.run, offer.card.sha256):
            return
        if offer.card.size > MOST_CARD_BYTES or offer.weights.size > MOST_WEIGHTS_BYTES:
            self._give_up(offer, "it is too large")
            return
        self.thread = threading.Thread(target=self._fetch, args=(offer, transfers, keep), name="fetch", daemon=True)
        self.thread.start()

    def _fetch(self, offer: FinishedModel, transfers: Transfers, keep: int) -> None:
        deadline = self._clock.now() + WITHIN_S
        try:
            card = transfers.download(offer.card, deadline).tobytes()
            weights = transfers.download(offer.weights, deadline)
            stored = self._store.put(offer.run, weights, card)
            self._store.prune(keep)
            log.info(
                "the final model of %s is here (SHA-256 %s...): embryofl-clinic score", stored.run, stored.sha256[:12]
            )
        except Stopped:
            pass
        except UserError as exc:
            self._give_up(offer, str(exc))
        except (TransferRefused, TransferDamaged, OSError) as exc:
            log.info("the final model of %s could not be downloaded (%s): trying again", offer.run, exc)

    def _give_up(self, offer: FinishedModel, reason: str) -> None:
        self._given_up.add(offer.card.sha256)
        log.warning("the final model of %s is not kept: %s", offer.run, with_code("M2", reason))
