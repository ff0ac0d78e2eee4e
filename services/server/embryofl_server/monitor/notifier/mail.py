"""Sends a message by e-mail: SMTP over TLS, with a login."""

import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate

from embryofl.errors import UserError
from embryofl_server.monitor.notifier.message import Message
from embryofl_server.monitor.notifier.settings import Mail

TIMEOUT_S = 20.0
NAME = "embryofl"  # what the notifier calls itself, in place of the container's name


def send_mail(mail: Mail, message: Message) -> str:
    """Send it to all; "", or what went wrong for some.

    Raises
    ------
    UserError
        When nobody got it, without the server's own words: they may quote what it was sent.
    """
    context = ssl.create_default_context(cadata=mail.authority or None)
    try:
        with _connect(mail, context) as server:
            server.login(mail.user, mail.password.get_secret_value())
            refused = server.send_message(_email(mail, message))
    except (OSError, smtplib.SMTPException) as exc:
        where = f"The mail server {mail.server}:{mail.port}"
        raise UserError("H14", f"{where} did not take the message: {_why(exc)}. It is sent again later.") from None
    return f"The mail server {mail.server} refused {len(refused)} of {len(mail.to)} addresses." if refused else ""


def _connect(mail: Mail, context: ssl.SSLContext) -> smtplib.SMTP:
    if mail.security == "tls":
        return smtplib.SMTP_SSL(mail.server, mail.port, NAME, timeout=TIMEOUT_S, context=context)
    server = smtplib.SMTP(mail.server, mail.port, NAME, timeout=TIMEOUT_S)
    try:
        server.starttls(context=context)  # raises where the server has none: nothing is sent in the clear
    except (OSError, smtplib.SMTPException):
        server.close()
        raise
    return server


def _email(mail: Mail, message: Message) -> EmailMessage:
    email = EmailMessage()
    email["From"], email["To"], email["Subject"] = mail.sender, ", ".join(mail.to), message.subject
    email["Date"], email["Auto-Submitted"] = formatdate(), "auto-generated"
    email["Message-ID"] = f"<{message.id}@{mail.sender.partition('@')[2]}>"
    email.set_content(message.text)
    return email


def _why(exc: Exception) -> str:
    match exc:
        case smtplib.SMTPAuthenticationError():
            return f"it refused user name or password ({exc.smtp_code})"
        case smtplib.SMTPNotSupportedError():
            return "it has no TLS, or no login"
        case smtplib.SMTPResponseException():
            return f"it answered {exc.smtp_code}"
        case smtplib.SMTPRecipientsRefused():
            return "it refused every address"
        case smtplib.SMTPException():
            return "it did not reply, or ended the connection"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted ({exc.verify_message})"
    return f"no connection ({getattr(exc, 'strerror', None) or type(exc).__name__})"
