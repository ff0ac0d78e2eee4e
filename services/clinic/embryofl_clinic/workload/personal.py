"""The clinic's own model beside the global one: what the strategies fedbn, ditto and finetuned_heads keep at the clinic.

It never leaves. What is released of it are the sums of its scores, under a name of their own. It lies in the state folder,
one file a round, so that a round that is done again begins from what that round began from: the same bits, whoever was
killed. A round that was missed is simply not there.

state/personal/<run>/round-0007.safetensors   after the clinic's training in round 7
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embryofl import task, wire
from embryofl.messages import RunSettings
from embryofl.models.parts import head_parameters, norm_tensors
from embryofl.wire import Layout
from embryofl_clinic.workload.round_files import RoundFiles

if TYPE_CHECKING:
    import torch
    from torch import nn

KEEP_RUNS = 5


class PersonalStore:
    """The files of one clinic's own models.

    Parameters
    ----------
    folder : Path
        Made when first needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _of(self, run: str) -> RoundFiles:
        return RoundFiles(self._folder / run, "round", "safetensors")

    def save(self, run: str, round_: int, packed: np.ndarray) -> None:
        """Keep the model after a round (`RoundFiles.save`), and the newest runs alone."""
        self._of(run).save(round_, packed.data)
        runs = sorted((p for p in self._folder.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime)
        for old in runs[:-KEEP_RUNS]:
            shutil.rmtree(old, ignore_errors=True)

    def newest(self, run: str, up_to: int) -> np.ndarray | None:
        """The model of the newest round that is not later than `up_to`, or None."""
        path = self._of(run).newest(up_to)
        return None if path is None else np.fromfile(path, np.uint8)


class Personal:
    """The clinic's own model of one run.

    Parameters
    ----------
    store : PersonalStore
    run : str
    settings : RunSettings
    model : torch.nn.Module
        The one that the clinic works with; its weights are exchanged and put back.
    layout : Layout
    """

    def __init__(self, store: PersonalStore, run: str, settings: RunSettings, model: nn.Module, layout: Layout) -> None:
        self._store, self._run, self._settings = store, run, settings
        self._model, self._layout = model, layout
        self._norms = norm_tensors(model) if settings.personal == "norms" else []

    def before_training(self, round_: int) -> np.ndarray | None:
        """Put the clinic's own tensors into the global model that was loaded; returns that model, packed, where some of its
        tensors are not to be sent changed."""
        if self._settings.personal != "norms":
            return None
        sent = self._pack()
        self._wear(round_ - 1)
        return sent

    def after_training(self, round_: int, sent: np.ndarray | None, packed: np.ndarray) -> np.ndarray:
        """Keep the clinic's own tensors; returns what may be sent: in their place stands what the hub sent."""
        if sent is None:
            return packed
        self._store.save(self._run, round_, packed)
        shared, begun = packed.copy(), self._layout.tensor_views(sent)
        views = self._layout.tensor_views(shared)
        for name in self._norms:
            views[name][...] = begun[name]
        return shared

    def train_beside(self, round_: int, begun: np.ndarray, train: task.Examples, seed: int, scale: float) -> None:
        """Ditto: train the clinic's own model from where it stood, pulled towards the global one it was sent, `begun`."""
        if self._settings.personal != "model":
            return
        kept = self._pack()
        own = self._store.newest(self._run, round_ - 1)
        wire.load(begun if own is None else own, self._layout, self._model.state_dict())
        how = replace(self._settings.training, proximal=self._settings.personal_pull)
        anchor = self._tensors(begun)
        task.train(self._model, train, how, seed=seed, device=self._device(), learning_rate_scale=scale, anchor=anchor)
        self._store.save(self._run, round_, self._pack())
        wire.load(kept, self._layout, self._model.state_dict())

    def put_on(self, round_: int, train: task.Examples, seed: int) -> np.ndarray:
        """Turn the global model of a round, which is loaded, into the clinic's own of that round; returns the global one,
        packed, to be loaded again afterwards."""
        kept = self._pack()
        if self._settings.personal == "head":
            self._fine_tune(train, seed)
            self._store.save(self._run, round_, self._pack())
        else:
            self._wear(round_)
        return kept

    def _wear(self, round_: int) -> None:
        own = self._store.newest(self._run, round_)
        if own is None:
            return
        self._layout.check(own)
        views, state = self._layout.tensor_views(own), self._model.state_dict()
        import torch

        for name in self._norms or views:
            state[name].copy_(torch.from_numpy(views[name]))

    def _fine_tune(self, train: task.Examples, seed: int) -> None:
        """The head alone, on the clinic's own patients, from the global model: depends on nothing before it."""
        head = set(head_parameters(self._model))
        trained = [n for n, p in self._model.named_parameters() if p.requires_grad]
        parameters = dict(self._model.named_parameters())
        how = replace(self._settings.training, local_epochs=self._settings.personal_epochs, proximal=0.0)
        try:
            for name in trained:
                parameters[name].requires_grad_(name in head)
            task.train(self._model, train, how, seed=seed, device=self._device())
        finally:
            for name in trained:
                parameters[name].requires_grad_()

    def _pack(self) -> np.ndarray:
        return wire.pack(self._model.state_dict(), self._layout)

    def _tensors(self, packed: np.ndarray) -> Mapping[str, torch.Tensor]:
        import torch

        return {n: torch.from_numpy(v.copy()) for n, v in self._layout.tensor_views(packed).items()}

    def _device(self) -> str:
        return str(next(self._model.parameters()).device)
