"""Sends a message to a webhook, in the format of its receiver."""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from embryofl.errors import UserError
from embryofl_server.monitor.notifier.message import Message
from embryofl_server.monitor.notifier.settings import Webhook, is_loopback

TIMEOUT_S = 20.0


def send_webhook(webhook: Webhook, message: Message) -> str:
    """Send it. `UserError` when it was not taken, without the address, which is a secret, and the receiver's words."""
    url, token = webhook.url.get_secret_value(), webhook.token.get_secret_value()
    host = urlsplit(url).hostname or ""
    matrix = webhook.format == "matrix"
    request = urllib.request.Request(  # noqa: S310 the settings allow no other than https, and http to this machine
        f"{url.rstrip('/')}/{message.id}" if matrix else url,  # Matrix takes each transaction once
        method="PUT" if matrix else "POST",
        data=json.dumps(body(webhook.format, message)).encode(),
        headers={"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})},
    )
    context = ssl.create_default_context(cadata=webhook.authority or None)
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler({} if is_loopback(host) else None),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),  # and none for redirects: one could lead to a place without TLS
    ):
        opener.add_handler(handler)
    try:
        with opener.open(request, timeout=TIMEOUT_S):
            return ""
    except (OSError, http.client.HTTPException) as exc:
        raise UserError(
            "H14", f"The webhook at {host} did not take the message: {_why(exc)}. It is sent again later."
        ) from None


def body(format_: str, message: Message) -> dict[str, Any]:
    """The message as its receiver wants it."""
    match format_:
        case "slack":  # also Mattermost
            return {"text": message.text}
        case "teams":
            text = {"type": "TextBlock", "text": message.text.replace("\n", "\n\n"), "wrap": True}
            card = {"type": "AdaptiveCard", "version": "1.4", "body": [text]}
            kind = "application/vnd.microsoft.card.adaptive"
            return {"type": "message", "attachments": [{"contentType": kind, "content": card}]}
        case "matrix":
            return {"msgtype": "m.text", "body": message.text}
    return {
        "id": message.id,
        "text": message.text,
        "holds": [n._asdict() for n in message.holds],
        "ended": [n._asdict() for n in message.ended],
    }


def _why(exc: Exception) -> str:
    reason = getattr(exc, "reason", exc)
    if isinstance(exc, urllib.error.HTTPError):
        return f"it answered {exc.code}"
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({reason.verify_message})"
    return f"no connection ({getattr(reason, 'strerror', None) or type(reason).__name__})"
