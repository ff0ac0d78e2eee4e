"""The ledger of sums that this clinic has confirmed, on disk (`masking/sums.jsonl`, a line each)."""

import os
from pathlib import Path

from pydantic import ValidationError

from embryofl.errors import UserError
from embryofl.files import in_turn, sync_folder, write_atomic
from embryofl.secagg.ledger import Confirmation, Ledger

FILE = "masking/sums.jsonl"
MARK = "sums_confirmed"
"""Beside the folder: it says that there is a ledger, so that one that is gone is not taken for an empty one."""


class LedgerFile:
    """The clinic's ledger. Each step reads it again, under a lock: two processes may share a state folder.

    Parameters
    ----------
    state_dir : Path
    """

    def __init__(self, state_dir: Path) -> None:
        self._path, self._mark = state_dir / FILE, state_dir / MARK

    def confirm(self, confirmation: Confirmation) -> None:
        """See `Ledger`; also raises as `read`."""
        with in_turn(self._path):
            Ledger(self._keep, self._lines()).confirm(confirmation)

    def read(self) -> Ledger:
        """What has been confirmed so far; nothing can be added to it.

        Raises
        ------
        UserError
            When the file is damaged, or gone: a clinic that forgets a sum could confirm another one of the same round.
        """
        if not self._path.exists() and not self._mark.exists():
            return Ledger(lambda confirmation: None)
        with in_turn(self._path):
            return Ledger(lambda confirmation: None, self._lines())

    def _lines(self) -> list[Confirmation]:
        if not self._path.exists():
            if self._mark.exists():
                raise UserError("J8", self._trouble("is gone"))
            return []
        text = self._path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:  # the machine lost its power while a line was written: nothing had been signed
            write_atomic(self._path, whole, 0o600)
        try:
            return [Confirmation.model_validate_json(line) for line in whole.splitlines()]
        except ValidationError as exc:
            raise UserError("J8", self._trouble("is damaged")) from exc

    def _trouble(self, what: str) -> str:
        return (
            f"{self._path} {what}. Expected a line for each sum that this clinic has confirmed. Until it is back as it was,"
            " no round with masks has this clinic: sums that an older copy lacks could be confirmed again. If there is no "
            f"other, remove it and {self._mark}, and take part in no run that has begun before."
        )

    def _keep(self, confirmation: Confirmation) -> None:
        line = confirmation.model_dump_json().encode() + b"\n"
        with self._path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                if file.write(line) != len(line):
                    raise OSError(f"{self._path}: only a part of a line could be written; is the disk full?")
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(before)
                raise
        sync_folder(self._path.parent)
        if not self._mark.exists():
            write_atomic(self._mark, b"", 0o600)
