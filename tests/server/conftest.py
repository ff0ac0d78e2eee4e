"""Fixtures that the server's tests share: a layout, packed states, a hub, a run with stand-ins for clinics."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from embryofl.wire import Layout
from embryofl_server.hub import Hub
from kits.hubs import hub_at
from kits.rounds import stages

LAYOUT = Layout.of({"w": ("F32", (3, 50)), "b": ("F32", (7,)), "half": ("F16", (5,)), "count": ("I64", ())})


@pytest.fixture
def layout() -> Layout:
    return LAYOUT


@pytest.fixture
def packed() -> Callable[..., np.ndarray]:
    """Make a packed state of random numbers; `count` is the integer counter."""

    def make(seed: int, count: int = 0) -> np.ndarray:
        rng, state = np.random.default_rng(seed), LAYOUT.empty()
        for view in LAYOUT.section_views(state):
            view[:] = (
                rng.normal(0, 10.0 ** rng.integers(-4, 4, view.size), view.size) if view.dtype.kind == "f" else count
            )
        return state

    return make


@pytest.fixture
def update(tmp_path: Path, packed: Callable[..., np.ndarray]) -> Callable[..., Path]:
    """Make an update's file."""

    def make(seed: int, count: int = 0) -> Path:
        path = tmp_path / f"update-{seed}"
        packed(seed, count).tofile(path)
        return path

    return make


@pytest.fixture
def make_hub(tmp_path: Path):
    """Make (or restart) the hub of this test."""
    made = []

    def make(**settings) -> Hub:
        if made:
            made[-1].store.close()
        made.append(hub_at(tmp_path / "hub", **settings))
        return made[-1]

    yield make
    made[-1].store.close()


@pytest.fixture
def hub(make_hub):
    return make_hub()


@pytest.fixture
def key():
    return ec.generate_private_key(ec.SECP384R1())


@pytest.fixture
def stage(tmp_path: Path, packed: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch):
    """`stage(**settings)`: a run ready to be executed with `stage.go()`."""
    yield from stages(tmp_path, packed, monkeypatch)
