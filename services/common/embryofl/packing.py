"""A PyTorch state dict as one packed array, and back; see `embryofl.wire` for the format."""

from collections.abc import Mapping

import numpy as np
import torch

from embryofl.wire import NAMES, Layout

State = Mapping[str, torch.Tensor]


def layout_of(state: State) -> Layout:
    """The layout of a state dict."""
    return Layout.of({name: (NAMES[_array(t).dtype], tuple(t.shape)) for name, t in state.items()})


def pack(state: State, layout: Layout | None = None) -> np.ndarray:
    """Pack a state dict: uint8 array `(layout.size,)`, one copy."""
    layout = layout or layout_of(state)
    packed = layout.empty()
    for name, view in layout.tensor_views(packed).items():
        view[...] = _array(state[name])
    return packed


def unpack(packed: np.ndarray, layout: Layout) -> dict[str, torch.Tensor]:
    """Copies of the tensors of a packed state.

    Raises
    ------
    WireError
        When `packed` does not have this layout.
    """
    layout.check(packed)
    return {name: torch.from_numpy(view.copy()) for name, view in layout.tensor_views(packed).items()}


def load(packed: np.ndarray, layout: Layout, state: State) -> None:
    """Copy a packed state into live tensors, in place.

    Raises
    ------
    WireError
        When `packed` does not have this layout.
    """
    layout.check(packed)
    with torch.no_grad():
        for name, view in layout.tensor_views(packed).items():
            state[name].copy_(torch.from_numpy(view))


def is_finite(packed: np.ndarray, layout: Layout) -> bool:
    """Whether all floating-point numbers of a packed state are finite."""
    return all(bool(np.isfinite(s).all()) for s in layout.section_views(packed) if s.dtype.kind == "f")


def _array(tensor: torch.Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().cpu().numpy()
    return array
