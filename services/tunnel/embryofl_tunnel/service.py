"""Keeps the tunnel open, and tells the hub in a file how it is. Nothing else of the federation depends on it."""

import logging
import signal
import threading
import time

from pydantic import ValidationError

from embryofl.files import write_atomic
from embryofl.tunnel import TunnelState
from embryofl_tunnel.ngrok_agent import NgrokAgent, TunnelError
from embryofl_tunnel.settings import TunnelSettings, take_token

log = logging.getLogger("embryofl.tunnel")

LOOK_S, RETRY_FIRST_S, RETRY_MOST_S = 1.0, 2.0, 60.0
UNNAMED = (
    "There is no token for ngrok. Expected NGROK_AUTHTOKEN in the environment: it is shown at "
    "https://dashboard.ngrok.com/get-started/your-authtoken."
)
LOST = "The connection to ngrok is lost; its agent tries to come back."


class TunnelStateWriter:
    """Writes the state file, and says in the log what has changed.

    Parameters
    ----------
    settings : TunnelSettings
    """

    def __init__(self, settings: TunnelSettings) -> None:
        self._path = settings.tunnel_file
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._state = TunnelState.model_validate_json(self._path.read_text())
        except (OSError, ValidationError):
            self._state = TunnelState(up=False, time=0.0)

    def up(self, address: str) -> None:
        """There is a tunnel at a public address."""
        before, old = self._state.before, self._state.address
        if old and address != old:
            before = old
            log.warning("the tunnel's address has changed: it was %s, it is %s", old, address)
        self._write(TunnelState(up=True, address=address, before=before, time=time.time()))

    def down(self, words: str) -> None:
        """There is none, and why. The address it had is kept: it may come back there."""
        self._write(self._state.model_copy(update={"up": False, "words": words, "time": time.time()}))

    def _write(self, state: TunnelState) -> None:
        before, self._state = self._state, state
        write_atomic(self._path, state.model_dump_json().encode(), mode=0o644)  # the hub may be another user
        if (before.up, before.address, before.words) != (state.up, state.address, state.words):
            if state.up:
                log.info("the hub is reached from outside at %s", state.address)
            else:
                log.warning("no tunnel: %s The federation on the local network goes on.", state.words)


def serve(settings: TunnelSettings) -> None:
    """Keep a tunnel open until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    token, teller, delay = take_token(), TunnelStateWriter(settings), RETRY_FIRST_S
    while not stop.is_set():
        try:
            if not token:
                raise TunnelError(UNNAMED)
            delay = _hold(settings, token, teller, stop, delay)
        except TunnelError as exc:
            words = str(exc).replace(token, "...") if token else str(exc)
            end = time.monotonic() + delay
            delay = min(delay * 1.6, RETRY_MOST_S)
            while time.monotonic() < end and not stop.is_set():
                teller.down(words)  # again and again, so that the file is fresh
                stop.wait(LOOK_S)
    teller.down("The tunnel was stopped.")


def _hold(
    settings: TunnelSettings, token: str, teller: TunnelStateWriter, stop: threading.Event, delay: float
) -> float:
    """Open a tunnel and watch it until it is gone (TunnelError) or `stop` is set; returns the next pause, in seconds."""
    agent = NgrokAgent(settings.ngrok_path, token)
    try:
        teller.up(agent.open(settings.gateway_address, settings.remote_addr))
        while not stop.wait(LOOK_S):
            address = agent.address()
            if agent.lost:
                teller.down(LOST)
            else:
                teller.up(address)
        return RETRY_FIRST_S
    finally:
        agent.close()
