"""Policies of clinics in tests."""

import json
import tomllib
from pathlib import Path
from typing import Any

from embryofl_clinic.policy.rules import FILE, ONE_OWNER


def write_policy(state: Path, **rules: Any) -> None:
    """That of a clinic of the hub's own people, with these rules besides or instead."""
    state.mkdir(parents=True, exist_ok=True)
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in (tomllib.loads(ONE_OWNER) | rules).items()]
    (state / FILE).write_text("".join(lines))
