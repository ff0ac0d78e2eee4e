"""`embryofl-server` of a hub that lies: the same program, but its requests are changed on their way, and it keeps every reply.

The file `lies.json` in its state folder names the lies of `masked_lies.py` to tell, one for each round from 1; it is read when
a run's first round begins. Each reply becomes a line of `heard.jsonl`. This hub also takes every confirmation for a valid one:
what the clinics do with it is up to them.
"""

import json
from pathlib import Path
from typing import Any

from masked_lies import Lies

from embryofl.messages import Request
from embryofl.secagg.unmasking import Unmasking
from embryofl_server import cli
from embryofl_server.federation.fleet import RawReply
from embryofl_server.federation.mailboxes import Mailboxes
from embryofl_server.federation.superlink import SuperLink
from embryofl_server.settings import load_settings

HOME: Path = load_settings().state_dir
LIES: dict[str, list[Lies]] = {}  # by run
SENT: dict[str, Request] = {}  # by message id, as an honest hub would have sent it


def told(text: str) -> tuple[Request, str]:
    """A request as it was to be sent, and as it is sent."""
    request = lie = Request.model_validate_json(text)
    if request.run not in LIES:
        names = json.loads((HOME / "lies.json").read_text())
        LIES[request.run] = [Lies(name, number) for number, name in enumerate(names, 1)]
    for each in LIES[request.run]:
        lie = each(lie)
    return request, lie.model_dump_json()


def heard(replies: list[RawReply]) -> list[RawReply]:
    """Note what has come."""
    with (HOME / "heard.jsonl").open("a") as file:
        for reply in replies:
            if request := SENT.get(reply.message_id):
                of: dict[str, Any] = {"run": request.run, "round": request.round, "clinic": request.clinic}
                file.write(json.dumps({**of, "kind": request.kind, "text": reply.text, "error": reply.error}) + "\n")
    return replies


mail, send, mailed, sent = Mailboxes.send, SuperLink.send, Mailboxes.replies, SuperLink.replies


def lie_by_mail(self: Mailboxes, clinic: str, text: str, **more: bool) -> str:
    """Into the mailbox, where the clinic has one."""
    request, lie = told(text)
    if message := mail(self, clinic, lie, **more):
        SENT[message] = request
    return message


def lie(self: SuperLink, node: Any, text: str, *more: Any) -> str:
    """Through the SuperLink."""
    request, text = told(text)
    message = send(self, node, text, *more)
    SENT[message] = request
    return message


def believe(self: Unmasking, name: str, signature: str) -> None:
    """Whatever the clinic has signed."""
    self._signatures[name] = signature


Mailboxes.send, SuperLink.send = lie_by_mail, lie  # type: ignore[method-assign]
Mailboxes.replies = lambda self: heard(mailed(self))  # type: ignore[method-assign]
SuperLink.replies = lambda self, ids: heard(sent(self, ids))  # type: ignore[method-assign]
Unmasking.take_confirmation = believe  # type: ignore[method-assign]

if __name__ == "__main__":
    cli.main()
