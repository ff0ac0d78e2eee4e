"""A final model on this clinic's own patients, for its own page, where no request has evaluated it.

The hub asks only for what the policy lets it have. A clinic that releases no metrics, or has declined to, evaluates the
final model all the same, once it has been downloaded. The hub has no part in that: nothing is sent, and the run is over.
"""

import logging
from pathlib import Path

from embryofl.messages import Request
from embryofl.pooled_metrics import SPLITS
from embryofl.settings import RunSettings
from embryofl_clinic.policy.rules import Policy
from embryofl_clinic.scoring.model_store import ModelStore, StoredModel
from embryofl_clinic.workload.own_results import OwnResultsFile
from embryofl_clinic.workload.request_handler import Workloads

log = logging.getLogger("embryofl.workload")


class FinalResults:
    """Evaluates the newest final model of the store.

    Parameters
    ----------
    workloads : Workloads
    policy : Policy
    state_dir : Path
    """

    def __init__(self, workloads: Workloads, policy: Policy, state_dir: Path) -> None:
        self._workloads, self._policy = workloads, policy
        self._store, self._results = ModelStore(state_dir), OwnResultsFile(state_dir)
        self._changed = 0

    def update(self) -> None:
        """Evaluate the newest model, unless that was done, or the clinic is quiet now. Never raises."""
        changed = self._store.changed
        if changed == self._changed or self._policy.is_quiet:
            return
        self._changed = changed
        for model in self._store.all()[:1]:
            if self._is_due(model):
                try:
                    self._evaluate(model)
                except Exception:
                    log.exception("the final model of %s cannot be evaluated for the clinic's page", model.card.run)

    def _is_due(self, model: StoredModel) -> bool:
        results, card = self._results.read().splits, model.card
        done = all(s in results and (results[s].run, results[s].round) == (card.run, card.round) for s in SPLITS)
        return card.settings.closing_evaluation and not done

    def _evaluate(self, model: StoredModel) -> None:
        card = model.card
        made = {key: getattr(card.settings, key) for key in ("model", "image_size", "meaning", "grades")}
        request = Request.model_construct(
            kind="evaluate", run=card.run, round=card.round, settings=RunSettings.model_validate(made)
        )
        workload = self._workloads.get(request)
        workload.load(model.packed())
        self._results.save(request, {split: workload.evaluate(split) for split in SPLITS})
        log.info("the final model of %s was evaluated for the clinic's page; nothing of it was sent", card.run)
