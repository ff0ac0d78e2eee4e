"""The ledger of sums that this clinic has confirmed, on disk (`masking/sums.jsonl`, a line each)."""

import os
from pathlib import Path

from pydantic import ValidationError

from embryofl.errors import UserError
from embryofl.files import sync_folder, write_atomic
from embryofl.secagg.ledger import Confirmation, Ledger

FILE = "masking/sums.jsonl"


def open_ledger(state_dir: Path) -> Ledger:
    """The clinic's ledger.

    Raises
    ------
    UserError
        When the file is damaged: a clinic that forgets a sum could confirm another one of the same round.
    """
    path = state_dir / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_bytes() if path.exists() else b""
    whole = text[: text.rfind(b"\n") + 1]
    if whole != text:  # the machine lost its power while a line was written: nothing had been signed
        write_atomic(path, whole, 0o600)
    try:
        earlier = [Confirmation.model_validate_json(line) for line in whole.splitlines()]
    except ValidationError as exc:
        raise UserError(
            "J8",
            f"{path} is damaged. Expected a line for each sum that this clinic has confirmed. Restore it from a backup; "
            "until then the clinic takes part in no round with masks.",
        ) from exc

    def keep(confirmation: Confirmation) -> None:
        with path.open("ab") as file:
            file.write(confirmation.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)

    return Ledger(keep, earlier)
