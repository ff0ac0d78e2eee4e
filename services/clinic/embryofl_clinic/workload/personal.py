"""The clinic's personal model next to the global one, for the strategies fedbn, ditto and finetuned_heads.

It never leaves the clinic; only the sums of its scores do, under a name of their own. The state folder has one file a
round, so that a repeated round starts from the same bits as the first time.

state/personal/<run>/round-0007.safetensors   after the clinic's training in round 7
"""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from embryofl import packing, task
from embryofl.examples import Examples
from embryofl.models.parts import head_parameters, norm_tensors
from embryofl.settings import RunSettings
from embryofl.wire import Layout
from embryofl_clinic.workload.round_files import RoundFiles

KEEP_RUNS = 5


class PersonalStore:
    """The files of one clinic's personal models.

    Parameters
    ----------
    folder : Path
        Created when first needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _of(self, run: str) -> RoundFiles:
        return RoundFiles(self._folder / run, "round", "safetensors")

    def save(self, run: str, round_: int, packed: np.ndarray) -> None:
        """Keep the model after a round (`RoundFiles.save`), and only the newest `KEEP_RUNS` runs."""
        self._of(run).save(round_, packed.data)
        runs = sorted((p for p in self._folder.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime)
        for old in runs[:-KEEP_RUNS]:
            shutil.rmtree(old, ignore_errors=True)

    def newest(self, run: str, up_to: int) -> np.ndarray | None:
        """The model of the newest round that is not later than `up_to`, or None."""
        path = self._of(run).newest(up_to)
        return None if path is None else np.fromfile(path, np.uint8)


class Personal:
    """The personal model of one run; if `settings.personal` is "", it changes nothing.

    Parameters
    ----------
    store : PersonalStore
    run : str
    settings : RunSettings
    model : torch.nn.Module
        The clinic's; its weights are replaced and restored.
    layout : Layout
    """

    def __init__(self, store: PersonalStore, run: str, settings: RunSettings, model: nn.Module, layout: Layout) -> None:
        self._store, self._run, self._settings = store, run, settings
        self._model, self._layout = model, layout
        self._norms = norm_tensors(model) if settings.personal == "norms" else []
        self._device = str(next(model.parameters()).device)

    def before_training(self, round_: int) -> np.ndarray | None:
        """Put the clinic's normalisation into the loaded global model; returns the global model, packed, if it is needed
        after training."""
        if self._settings.personal not in ("norms", "model"):
            return None
        received = self._pack()
        if self._norms:
            self._load_newest(round_ - 1)
        return received

    def after_training(self, round_: int, received: np.ndarray | None) -> np.ndarray:
        """The trained model, packed, as it may be sent: the clinic's normalisation is stored here and replaced by the one
        that was received."""
        packed = self._pack()
        if received is None or not self._norms:
            return packed
        self._store.save(self._run, round_, packed)
        update, before = packed.copy(), self._layout.tensor_views(received)
        views = self._layout.tensor_views(update)
        for name in self._norms:
            views[name][...] = before[name]
        return update

    def train_alongside(
        self,
        round_: int,
        received: np.ndarray | None,
        train: Examples,
        seed: int,
        scale: float,
        *,
        to_the_end: bool = False,
    ) -> None:
        """Ditto: continue training the personal model, pulled towards the global one that was `received`. With `to_the_end`
        (`task.train`) it stays as it was if it is not finite afterwards."""
        if received is None or self._settings.personal != "model":
            return
        trained, personal = self._pack(), self._store.newest(self._run, round_ - 1)
        start = received if personal is None else personal
        self._load(start)
        how = replace(self._settings.training, proximal=self._settings.personal_pull)
        anchor = packing.unpack(received, self._layout)
        task.train(
            self._model,
            train,
            how,
            seed=seed,
            device=self._device,
            learning_rate_scale=scale,
            anchor=anchor,
            to_the_end=to_the_end,
        )
        packed = self._pack()
        self._store.save(self._run, round_, packed if packing.is_finite(packed, self._layout) else start)
        self._load(trained)

    def replace_global(self, round_: int, train: Examples, seed: int) -> np.ndarray:
        """Turn the loaded global model of a round into the personal model of that round; returns the global one, packed."""
        global_model = self._pack()
        if self._settings.personal == "head":
            self._fine_tune(train, seed)
            self._store.save(self._run, round_, self._pack())
        else:
            self._load_newest(round_)
        return global_model

    def _load_newest(self, round_: int) -> None:
        personal = self._store.newest(self._run, round_)
        if personal is not None:
            tensors, state = packing.unpack(personal, self._layout), self._model.state_dict()
            for name in self._norms or tensors:
                state[name].copy_(tensors[name])

    def _fine_tune(self, train: Examples, seed: int) -> None:
        """Train only the head on the clinic's patients, from the global model."""
        head = set(head_parameters(self._model))
        others = [p for n, p in self._model.named_parameters() if p.requires_grad and n not in head]
        how = replace(self._settings.training, local_epochs=self._settings.personal_epochs, proximal=0.0)
        try:
            for parameter in others:
                parameter.requires_grad_(False)
            task.train(self._model, train, how, seed=seed, device=self._device)
        finally:
            for parameter in others:
                parameter.requires_grad_()

    def _pack(self) -> np.ndarray:
        return packing.pack(self._model.state_dict(), self._layout)

    def _load(self, packed: np.ndarray) -> None:
        packing.load(packed, self._layout, self._model.state_dict())
