"""An invite code: what a clinic needs to find the hub, to trust it from the first byte, and to join."""

import base64
import json
import zlib

from pydantic import ValidationError

from embryofl.errors import UserError
from embryofl.membership import HubContact
from embryofl.schema import Name

HUB_NAME = "hub.embryofl.internal"
"""Every hub's own name, in its certificate next to its addresses. `.internal` is kept for private use (ICANN), and a clinic
trusts it from its own hub's authority alone, so that it need not differ from hub to hub."""

_PREFIX = "embryofl1."
MAX_CODE = 8192
"""Characters of an invite code, at most."""


class Invite(HubContact):
    """The hub contact, the clinic's name, and the one-time secret."""

    name: Name
    secret: str

    def code(self) -> str:
        """The invite code: one word of letters, digits, ``-``, ``_`` and ``.``."""
        packed = zlib.compress(json.dumps(self.model_dump(), separators=(",", ":")).encode(), 9)
        return _PREFIX + base64.urlsafe_b64encode(packed).rstrip(b"=").decode()

    @classmethod
    def parse(cls, code: str) -> "Invite":
        """Read an invite code; raise `UserError` if it is not complete."""
        code = code.strip()
        try:
            if not code.startswith(_PREFIX) or len(code) > MAX_CODE:
                raise ValueError("prefix")
            body = code.removeprefix(_PREFIX)
            unpacker = zlib.decompressobj()
            text = unpacker.decompress(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), 4 * MAX_CODE)
            if not unpacker.eof:
                raise ValueError("cut off")
            return cls.model_validate_json(text)
        except (ValueError, zlib.error, ValidationError) as exc:
            raise UserError(
                "J1",
                f"This is not a complete invite code ({len(code)} characters, begins with {code[:12]!r}). Expected one "
                f"word beginning with {_PREFIX!r}: copy it again from the coordinator's message, without line breaks.",
            ) from exc
