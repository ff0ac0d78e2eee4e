"""A message: the words of what holds and of what has ended, the same for mail and webhook."""

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

from embryofl_server.monitor.notices import Notice

TEXTS: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_name("texts.toml").read_text("utf-8"))


@dataclass(frozen=True)
class Message:
    """What is sent.

    Attributes
    ----------
    id : str
        The same when it is sent again, so that a receiver that knows it drops the second one.
    sentences : list of str
    holds, ended : list of Notice
    """

    id: str
    sentences: list[str]
    holds: list[Notice]
    ended: list[Notice]

    @property
    def subject(self) -> str:
        """In one line."""
        count = len(self.sentences) - 1
        return TEXTS["subject"]["more" if count else "one"].format(text=self.sentences[0], count=count)

    @property
    def text(self) -> str:
        """All of it, a sentence a line."""
        return "\n".join([*self.sentences, "", TEXTS["message"]["foot"]])


def compose(holds: list[Notice], ended: list[Notice], number: str) -> Message:
    """The message of these; `number` is this one's alone."""
    sentences = [TEXTS["holds"][n.notice].format(about=n.about, detail=n.detail) for n in holds]
    sentences += [TEXTS["ended"][n.notice].format(about=n.about) for n in ended]
    return Message(hashlib.sha256(number.encode()).hexdigest()[:32], sentences, holds, ended)


def trial_message(number: str) -> Message:
    """What `embryofl-server notifier test` sends."""
    return Message(hashlib.sha256(number.encode()).hexdigest()[:32], [TEXTS["message"]["test"]], [], [])
