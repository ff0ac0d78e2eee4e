"""The hub's control API, and its state: asked for every half second, however many pages are open."""

import ssl
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import httpx

from embryofl.errors import UserError
from embryofl_console.settings import ConsoleSettings
from embryofl_console.texts import texts

POLL_S, UNWATCHED_S = 0.5, 5.0
SESSION: ContextVar[str] = ContextVar("session")
"""Of the person whose request is being served; not set where the console asks for itself."""


class HubClient:
    """Calls with the console's token, and with the session of the person at the browser."""

    def __init__(self, settings: ConsoleSettings) -> None:
        try:
            token = (settings.identity / "control.token").read_bytes().hex()
            context = ssl.create_default_context(cafile=str(settings.identity / "internal.crt"))
        except OSError as exc:
            raise UserError(
                "H1",
                f"The hub's control token was not found in {settings.identity} ({exc.strerror}). Expected internal.crt and "
                "control.token: start the hub first, or set EMBRYOFL_CONSOLE_IDENTITY.",
            ) from exc
        self._http = httpx.Client(
            base_url=f"https://{settings.hub}",
            verify=context,
            timeout=120,
            trust_env=False,
            headers={"Authorization": f"Bearer {token}"},
        )

    def ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        version: str | None = None,
        *,
        stream: bool = False,
    ) -> httpx.Response:
        """One call. Raises `UserError` with the hub's message, or when the hub does not respond. `version`: of the state
        that the console has, and asks for without a person. `stream`: the caller reads and closes the response."""
        headers = _person() if version is None else {"If-None-Match": version}
        try:
            request = self._http.build_request(method, path, json=body, headers=headers)
            response = self._http.send(request, stream=stream)
            if response.status_code >= 400:
                response.read()
        except httpx.HTTPError:
            raise UserError("H1", texts.access.hub_away) from None
        raise_for_error(response)
        return response

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The same, as JSON."""
        return self.ask(method, path, body).json()

    def stream(self, path: str) -> tuple[dict[str, str], Iterator[bytes]]:
        """A file in chunks: its length as a header, where known, and its bytes. Raises as `ask` does."""
        response = self.ask("GET", path, stream=True)
        length = response.headers.get("content-length", "")

        def chunks() -> Iterator[bytes]:
            try:
                yield from response.iter_bytes(1 << 18)
            finally:
                response.close()

        return ({"Content-Length": length} if length.isdecimal() else {}), chunks()

    # -- people -----------------------------------------------------------------------------------------------------
    def login(self) -> dict[str, bool]:
        """What people log in with: `passwords`, and with it a name (`named`) or a one-time code (`coded`); `provider`, an
        account of the institution's. A password alone while the hub does not respond."""
        try:
            needed: dict[str, bool] = self.call("GET", "/control/login")
        except UserError:
            return {"named": False, "coded": False, "provider": False, "passwords": True}
        return needed

    def log_in(self, name: str, password: str, code: str) -> tuple[int, str]:
        """The hub's status and the session that it has begun, "" for none; 503 if it does not respond."""
        try:
            response = self._http.post("/control/login", json={"name": name, "password": password, "code": code})
        except httpx.HTTPError:
            return 503, ""
        return response.status_code, response.json().get("session", "")

    def begin_login(self) -> tuple[str, str]:
        """The address at the institution's provider where the browser is to log in, and the state with which it comes back.
        Raises `UserError` as `ask`."""
        begun = self.call("POST", "/control/login/provider")
        return begun["address"], begun["state"]

    def finish_login(self, state: str, code: str) -> str:
        """The session of the person who has logged in at the provider. Raises `UserError` as `ask`."""
        session: str = self.call("POST", "/control/login/provider/finish", {"state": state, "code": code})["session"]
        return session

    def log_out(self, session: str) -> None:
        """End a session. Raises `UserError` when the hub does not respond."""
        SESSION.set(session)
        self.call("POST", "/control/logout")


def _person() -> dict[str, str]:
    session = SESSION.get("")
    return {"X-Embryofl-Session": session} if session else {}


def raise_for_error(response: httpx.Response) -> None:
    """Raise `UserError` with the hub's message for an error status."""
    if response.status_code < 400:
        return
    try:
        body = response.json()
        message = body.get("error") or body.get("detail") or response.text
        if isinstance(message, list):  # FastAPI's, for an invalid value
            message = "; ".join(f"{m['loc'][-1]}: {m['msg']}" for m in message)
    except ValueError:
        message = response.text
    raise UserError("H2", str(message)[:500])


class Follower:
    """The hub's state, polled every half second while a page is open."""

    def __init__(self, client: HubClient) -> None:
        self._client = client
        self._wanted, self._wake, self._asking = 0.0, threading.Event(), threading.Lock()
        self.state: dict[str, Any] | None = None
        self.tag, self.trouble, self.version = "", "", 0
        self._courses: tuple[Any, dict[str, Any]] = (None, {})
        threading.Thread(target=self._follow, name="follower", daemon=True).start()

    def now(self) -> tuple[int, dict[str, Any] | None, str]:
        """Version, the newest state (None before the first), and the connection's error ("" for none)."""
        unwatched = time.monotonic() - self._wanted > UNWATCHED_S
        self._wanted = time.monotonic()
        self._wake.set()
        if unwatched:
            self.poll()
        return self.version, self.state, self.trouble

    def _follow(self) -> None:
        while True:
            self._wake.wait()
            if time.monotonic() - self._wanted > UNWATCHED_S:
                self._wake.clear()
                continue
            self.poll()
            time.sleep(POLL_S)

    def poll(self) -> None:
        """Ask the hub now."""
        with self._asking:
            self._poll()

    def _poll(self) -> None:
        try:
            response = self._client.ask("GET", "/control/state", version=self.tag)
            state = None if response.status_code == 304 else self._complete(response.json())
        except UserError as exc:
            if self.trouble != str(exc):
                self.trouble, self.version = str(exc), self.version + 1
            return
        if state or self.trouble:
            if state:
                self.state, self.tag = state, response.headers.get("etag", "")
            self.trouble, self.version = "", self.version + 1

    def _complete(self, state: dict[str, Any]) -> dict[str, Any]:
        """With the run's courses, asked for when a round has added to them."""
        run = state["run"]
        if run and (key := (run["name"], state["validated"])) != self._courses[0]:
            courses = self._client.ask("GET", "/control/courses", version="")  # for no person
            self._courses = key, courses.json()
        return {**state, "courses": self._courses[1] if run else {}}
