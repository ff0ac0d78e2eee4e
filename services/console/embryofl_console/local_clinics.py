"""Local test clinics of `make demo`, started and stopped by the demo's own process at its socket (`embryofl_demo.control`).

The console can ask for that and for nothing else; in containers there is no such socket.
"""

from pathlib import Path
from urllib.parse import quote

import httpx

from embryofl.errors import UserError
from embryofl_console import texts


class LocalClinics:
    """The demo's clinics.

    Parameters
    ----------
    socket : Path or None
        Of the demo; None: there is none.
    """

    def __init__(self, socket: Path | None) -> None:
        self._http = None
        if socket is not None:
            transport = httpx.HTTPTransport(uds=str(socket))
            self._http = httpx.Client(transport=transport, base_url="http://demo", timeout=10, trust_env=False)

    @property
    def here(self) -> bool:
        """Whether clinics can be started and stopped from here."""
        return self._http is not None

    def states(self) -> dict[str, str]:
        """Name to running, stopping, stopped or left out.

        Raises
        ------
        UserError
            When the demo does not answer.
        """
        found: dict[str, str] = self._ask("GET", "/clinics").json()
        return found

    def start(self, name: str) -> None:
        """Start a clinic; `UserError` in words when that cannot be."""
        self._ask("POST", f"/clinics/{quote(name, safe='')}/start")

    def stop(self, name: str) -> None:
        """Stop a clinic; `UserError` in words when that cannot be."""
        self._ask("POST", f"/clinics/{quote(name, safe='')}/stop")

    def _ask(self, method: str, path: str) -> httpx.Response:
        if self._http is None:
            raise UserError(texts.NO_LOCAL)
        try:
            answer = self._http.request(method, path)
        except httpx.HTTPError:
            raise UserError(texts.DEMO_AWAY) from None
        if answer.status_code >= 400:
            raise UserError(str(answer.json().get("error", answer.text))[:300])
        return answer
