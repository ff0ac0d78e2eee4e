"""Local test clinics of `make demo`: its process starts and stops them, and takes no other request at its socket.

In containers there is no such socket.
"""

from pathlib import Path
from urllib.parse import quote

import httpx

from embryofl.errors import UserError
from embryofl_console.texts import texts


class LocalClinics:
    """The demo's clinics.

    Parameters
    ----------
    socket : Path or None
        The demo's; None if there is no demo.
    """

    def __init__(self, socket: Path | None) -> None:
        self._http = None
        if socket is not None:
            transport = httpx.HTTPTransport(uds=str(socket))
            self._http = httpx.Client(transport=transport, base_url="http://demo", timeout=10, trust_env=False)

    @property
    def available(self) -> bool:
        """Whether clinics can be started and stopped here."""
        return self._http is not None

    def states(self) -> dict[str, str]:
        """Names to states (`embryofl.states.PROCESS`). Raises `UserError` when the demo does not respond."""
        states: dict[str, str] = self._ask("GET", "/clinics").json()
        return states

    def act(self, action: str, name: str) -> None:
        """Have a clinic `start` or `stop`. Raises `UserError`."""
        self._ask("POST", f"/clinics/{quote(name, safe='')}/{action}")

    def _ask(self, method: str, path: str) -> httpx.Response:
        if self._http is None:
            raise UserError("H2", texts.local.none)
        try:
            response = self._http.request(method, path)
        except httpx.HTTPError:
            raise UserError("S9", texts.local.demo_away) from None
        if response.status_code >= 400:
            raise UserError("H2", str(response.json().get("error", response.text))[:300])
        return response
