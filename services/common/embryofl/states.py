"""How the stored states are shown: the labels in `states.toml`, a dictionary a kind."""

import tomllib
from pathlib import Path

_LABELS: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
RUN, PHASE, MEMBER = _LABELS["run"], _LABELS["phase"], _LABELS["member"]
CLINIC, INVITE, PROCESS = _LABELS["clinic"], _LABELS["invite"], _LABELS["process"]
UNDER_WAY = ("waiting", "running")
"""States of a run that the round loop conducts."""
OVER = ("finished", "stopped", "failed")


def label(kind: dict[str, str], state: str) -> str:
    """The label of a state; a state without one as it is."""
    return kind.get(state, state)
