"""Weights from a file, or torchvision's, for a model made by `create_model`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from embryofl.errors import UserError
from embryofl.models.parts import HEADS

SUFFIXES = (".safetensors", ".pth", ".pt")
_STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")


def from_file(path: str | Path) -> dict[str, Tensor]:
    """Weights from a ``.safetensors``, ``.pth`` or ``.pt`` file; the latter are read without running code in them.

    Raises
    ------
    UserError
        If the file does not exist, cannot be read, or holds anything but named tensors.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(
            "M3", f"Found {str(path)!r} as pretrained weights. Expected 'torchvision' or a {', '.join(SUFFIXES)} file."
        )
    if not path.is_file():
        raise UserError(
            "M3", f"There is no file {path}. Expected pretrained weights there: check the path, or mount the file."
        )
    try:
        state: Any
        if path.suffix.lower() == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the loaders raise many kinds; whichever it is, the file is not usable
        raise UserError(
            "M3",
            f"{path} could not be read as weights ({type(error).__name__}). Expected a state dict of tensors: save it "
            f"with torch.save(model.state_dict(), ...) or as safetensors.",
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise UserError(
            "M3",
            f"{path} holds no state dict. Expected names with tensors, as torch.save(model.state_dict(), ...) "
            f"writes them.",
        )
    return state


def load(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Put weights into a model, in place.

    Names may be torchvision's or those of `model`. Statistics of a BatchNorm that the model lacks, and a head of another
    size, are ignored; everything else has to fit.

    Raises
    ------
    UserError
        If names or shapes do not fit; says which.
    """
    expected = model.state_dict()
    fitting: dict[str, Tensor] = {}
    foreign: list[str] = []
    for key, tensor in state.items():
        name = key if key in expected else f"body.{key}"
        if name in expected and expected[name].shape == tensor.shape:
            fitting[name] = tensor
        elif not name.startswith(HEADS) and not key.startswith(HEADS) and not key.endswith(_STATISTICS):
            shape = f" {tuple(expected[name].shape)}" if name in expected else ""
            foreign.append(f"{key} {tuple(tensor.shape)}" + (f" instead of{shape}" if shape else ""))
    missing = [name for name in expected if name not in fitting and not name.startswith(HEADS)]
    if foreign or missing:
        raise UserError(
            "M3",
            f"The weights in {source} do not fit the model: found {len(state)} tensors, {len(foreign)} of them foreign"
            f"{_some(foreign)}; expected {len(expected)}, {len(missing)} of them missing{_some(missing)}. Choose the model "
            f"that the weights were made for.",
        )
    model.load_state_dict({**expected, **fitting})


def _some(names: list[str]) -> str:
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
