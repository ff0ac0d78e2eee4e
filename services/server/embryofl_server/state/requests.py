"""What one person has asked for and another has to confirm, in `clinics.db`."""

import json
import time
from dataclasses import dataclass
from typing import Any

from embryofl.errors import UserError
from embryofl_server.state.database import Database

KEPT_S = 7 * 86_400.0  # a request that nobody confirms is dropped


@dataclass(frozen=True)
class Asked:
    """A request: its number, who asked for it and when (Unix time in seconds), and what is to be done."""

    number: int
    person: str
    asked: float
    action: str
    body: dict[str, Any]


class Requests:
    """The requests that wait; safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask(self, person: str, action: str, body: dict[str, Any]) -> Asked:
        """Note a request; one that waits already is not noted again."""
        with self._database.transaction():
            for asked in self.waiting():
                if (asked.person, asked.action, asked.body) == (person, action, body):
                    return asked
            self._database.change("DELETE FROM requests WHERE asked < ?", time.time() - KEPT_S)
            row = (person, time.time(), action, json.dumps(body))
            self._database.change("INSERT INTO requests (person, asked, action, body) VALUES (?, ?, ?, ?)", *row)
            return self.waiting()[-1]

    def waiting(self) -> list[Asked]:
        """All that wait, oldest first."""
        rows = self._database.rows(
            "SELECT number, person, asked, action, body FROM requests WHERE asked >= ? ORDER BY number",
            time.time() - KEPT_S,
        )
        return [Asked(number, person, asked, action, json.loads(body)) for number, person, asked, action, body in rows]

    def find(self, number: int) -> Asked:
        """One that waits; `UserError` when there is none of that number."""
        waiting = {asked.number: asked for asked in self.waiting()}
        if number not in waiting:
            raise UserError(
                "H12",
                f"No request {number} waits for a second person. There are: {', '.join(map(str, waiting)) or 'none'}.",
            )
        return waiting[number]

    def take(self, number: int) -> None:
        """Let a request wait no more; `UserError` as `find`, so that it is done once."""
        with self._database.transaction():
            self.find(number)
            self._database.change("DELETE FROM requests WHERE number = ?", number)
