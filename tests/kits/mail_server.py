"""A mail server on this machine: real SMTP with TLS and a login."""

import contextlib
import ssl
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from kits.ports import free_port

LOGIN = LoginPassword(b"hub", b"a-mail-password")


class MailServer:
    """What it got, and what it refuses.

    Attributes
    ----------
    mails : list of Message
    refuse : str
        The answer to each message in place of taking it; "" = it takes all.
    """

    def __init__(self) -> None:
        self.mails: list[Message] = []
        self.refuse, self.port = "", free_port()

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        """See aiosmtpd."""
        if self.refuse:
            return self.refuse
        self.mails.append(message_from_bytes(envelope.content))
        return "250 taken"


def _login(_server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> AuthResult:
    return AuthResult(success=given == LOGIN, handled=False)


@contextlib.contextmanager
def mail_server(context: ssl.SSLContext, *, at_once: bool = False) -> Iterator[MailServer]:
    """A server that wants STARTTLS and a login; `at_once`: TLS from the first byte."""
    server = MailServer()
    tls = {"ssl_context": context} if at_once else {"tls_context": context, "require_starttls": True}
    controller = Controller(
        server,
        hostname="127.0.0.1",
        port=server.port,
        authenticator=_login,
        auth_required=True,
        auth_require_tls=not at_once,  # aiosmtpd counts STARTTLS alone as TLS
        **tls,
    )
    controller.start()
    try:
        yield server
    finally:
        controller.stop(no_assert=True)
