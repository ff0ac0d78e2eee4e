"""The second factor of a login: codes from an app, of 30 seconds each (TOTP, RFC 6238: SHA-1, six digits)."""

import base64
import secrets
import time

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor import InvalidToken
from cryptography.hazmat.primitives.twofactor.totp import TOTP

STEP_S, DIGITS = 30, 6


def new_key() -> str:
    """A key, as people type it into an app (base32)."""
    return base64.b32encode(secrets.token_bytes(20)).decode()


def uri(key: str, name: str) -> str:
    """The key as an address that apps open."""
    return f"otpauth://totp/EmbryoFL:{name}?secret={key}&issuer=EmbryoFL"


def step_of(key: str, code: str) -> int:
    """The 30 seconds that a code is of, counted from 1970; 0 for a wrong one. Clocks may differ by as much."""
    totp = TOTP(base64.b32decode(key), DIGITS, SHA1(), STEP_S, enforce_key_length=False)  # noqa: S303 - what apps use
    now = int(time.time()) // STEP_S
    for step in (now - 1, now, now + 1):
        try:
            totp.verify(code.encode("utf-8", "replace"), step * STEP_S)
        except InvalidToken:
            continue
        return step
    return 0
