"""The secret from which a clinic's noise follows, so that an update that is sent again has the same noise."""

import secrets
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from embryofl.errors import UserError
from embryofl.files import in_turn, write_atomic
from embryofl.secagg.messages import VERSION, Terms

FILE = "masking/noise.key"
SIZE = 32


def noise_key(state_dir: Path, terms: Terms) -> bytes:
    """32 bytes for `embryofl.secagg.noise.add_noise`: the same for all attempts to sum updates to one model.

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
            "noise from then on.",
        )
    about = f"{VERSION} noise\n{terms.run}\n{terms.round}\n{terms.model}"
    return HKDF(SHA256(), 32, None, about.encode()).derive(secret)
