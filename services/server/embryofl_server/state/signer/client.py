"""The server's side of the signer: asks it by its socket."""

import json
import socket
import time
from pathlib import Path
from typing import Any

from embryofl.errors import UserError
from embryofl.membership import SignedContact
from embryofl_server.state.signer.authority import Trust
from embryofl_server.state.signer.process import ANSWER_S, read_line, short

START_S = 60.0


class SignerProcess:
    """A `Signer` in another process.

    Parameters
    ----------
    path : Path
        Its socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def wait(self, seconds: float = START_S) -> None:
        """Wait until it answers: it may be starting. `UserError` if it does not."""
        end = time.monotonic() + seconds
        while trouble := self.trouble():
            if time.monotonic() > end:
                raise UserError("H13", trouble)
            time.sleep(0.05)

    def trust(self) -> Trust:
        """See `Signer`."""
        return Trust(**self._ask("trust"))

    def certificate(self, request: str) -> str:
        """See `Signer`."""
        return str(self._ask("certificate", request=request)["certificate"])

    def contact(self) -> SignedContact:
        """See `Signer`."""
        return SignedContact.model_validate(self._ask("contact"))

    def begin_rotation(self) -> Trust:
        """See `Signer`."""
        return Trust(**self._ask("begin_rotation"))

    def finish_rotation(self) -> Trust:
        """See `Signer`."""
        return Trust(**self._ask("finish_rotation"))

    def trouble(self) -> str:
        """See `Signer`: whether it can be connected to."""
        try:
            self._connected().close()
        except UserError as exc:
            return str(exc)
        return ""

    def _connected(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(ANSWER_S)
            with short(self._path) as address:
                connection.connect(address)
        except OSError as exc:
            connection.close()
            raise UserError("H13", _away(self._path, exc)) from exc
        return connection

    def _ask(self, what: str, **facts: str) -> dict[str, Any]:
        try:
            with self._connected() as connection:
                connection.sendall(json.dumps({"ask": what, **facts}).encode() + b"\n")
                answer: dict[str, Any] = json.loads(read_line(connection))
        except (OSError, ValueError) as exc:  # it ended, or was too slow
            raise UserError("H13", _away(self._path, exc)) from exc
        if "error" in answer:
            raise UserError("H13", answer["error"])
        return answer


def _away(path: Path, why: Exception) -> str:
    return (
        f"The signer does not answer at {path} ({why}). Until it does, the gateway's certificate is not renewed and "
        "clinics learn of no new address; all else goes on. Its log shows why: make logs."
    )
