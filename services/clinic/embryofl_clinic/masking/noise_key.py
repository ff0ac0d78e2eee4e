"""The secret from which a clinic's noise and its thresholds for alarms follow, so that what is sent again is the same."""

import secrets
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from embryofl.errors import UserError
from embryofl.files import in_turn, write_atomic
from embryofl.secagg.messages import VERSION

FILE = "masking/noise.key"
SIZE = 32


def noise_key(state_dir: Path, use: Literal["noise", "alarm"], run: str, round_: int, model: str) -> bytes:
    """32 bytes for one use: the same for all attempts to sum updates to one model (SHA-256) in a round.

    Raises
    ------
    UserError
        When the file with the secret is damaged.
    """
    path = state_dir / FILE
    with in_turn(path):
        if not path.exists():
            write_atomic(path, secrets.token_bytes(SIZE), 0o600)
        secret = path.read_bytes()
    if len(secret) != SIZE:
        raise UserError(
            "J8",
            f"{path} has {len(secret)} bytes, expected {SIZE}. Remove it: another one is drawn, and updates have other "
            "noise, and alarms other thresholds, from then on.",
        )
    return derived(secret, f"{VERSION} {use}\n{run}\n{round_}\n{model}".encode())


def derived(secret: bytes, about: bytes) -> bytes:
    """32 bytes for one use of a secret of `SIZE` bytes."""
    if len(secret) != SIZE:
        raise ValueError(f"a secret of {len(secret)} bytes, expected {SIZE}")
    return HKDF(SHA256(), 32, None, about).derive(secret)
