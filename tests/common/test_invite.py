"""An invite code is one shell word; an incomplete one is rejected."""

import base64
import re
import zlib

import pytest

from embryofl.errors import UserError
from embryofl.invite import HUB_NAME, Invite

INVITE = Invite(
    name="lisbon",
    hubs=["hub.example:8443", "10.0.0.1:8443"],
    ca="-----BEGIN...\n" * 30,
    secret="s" * 32,
    server_name=HUB_NAME,
)


def test_invite_survives_its_code_which_is_one_shell_word():
    code = INVITE.code()
    assert re.fullmatch(r"[A-Za-z0-9._-]+", code)
    assert Invite.parse(code) == INVITE
    assert Invite.parse(f"  {code}\n") == INVITE


def _encode(data: bytes) -> str:
    return "embryofl1." + base64.urlsafe_b64encode(data).decode().rstrip("=")


CODE = INVITE.code()
WRONG = {
    "empty": "",
    "words": "not an invite",
    "wrong prefix": CODE.replace("embryofl1.", "embryofl2."),
    "prefix only": "embryofl1.",
    "not base64": "embryofl1.§§§§",
    "not compressed": _encode(b"hello"),
    "not JSON": _encode(zlib.compress(b"hello")),
    "another object": _encode(zlib.compress(b'{"name": "a"}')),
    "an unknown field": _encode(zlib.compress(INVITE.model_dump_json()[:-1].encode() + b',"run":"x"}')),
    "a bad name": _encode(zlib.compress(INVITE.model_dump_json().replace("lisbon", "../x").encode())),
    "a bomb": _encode(zlib.compress(b" " * 40_000_000, 9))[:8192],
    "a small bomb": _encode(zlib.compress(b'{"name": "' + b"a" * 5_000_000)),
    "too long": CODE + "A" * 9000,
    "a line break inside": CODE[:40] + "\n" + CODE[40:-3],
}


@pytest.mark.parametrize("kind", WRONG)
def test_anything_else_is_rejected_with_the_remedy(kind):
    with pytest.raises(UserError, match="not a complete invite code"):
        Invite.parse(WRONG[kind])


@pytest.mark.parametrize("missing", [1, 2, 3, 10, 100])
def test_truncated_code_is_rejected(missing):
    with pytest.raises(UserError, match="copy it again"):
        Invite.parse(CODE[:-missing])


def test_error_does_not_show_the_secret():
    with pytest.raises(UserError) as caught:
        Invite.parse(CODE[:-5])
    assert CODE[20:40] not in str(caught.value)
