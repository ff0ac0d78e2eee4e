"""Keeps the tunnel open, and reports its state to the hub in a file. The rest of the federation works without it."""

import contextlib
import logging
import time
from pathlib import Path

from embryofl.errors import with_code
from embryofl.files import write_atomic
from embryofl.process import set_up_logging, stop_on_signals
from embryofl.tunnel import TunnelState, read_tunnel_state
from embryofl_tunnel.ngrok_agent import TOKEN_PAGE, NgrokAgent, TunnelError
from embryofl_tunnel.settings import TunnelSettings, take_token

log = logging.getLogger("embryofl.tunnel")

CHECK_S, RETRY_FIRST_S, RETRY_MOST_S = 1.0, 2.0, 60.0
NO_TOKEN = (
    f"There is no token for ngrok. Expected NGROK_AUTHTOKEN in the environment. Copy the token from {TOKEN_PAGE}."
)
LOST = with_code("H7", "The connection to ngrok is lost. Its agent is reconnecting.")


class TunnelStateWriter:
    """Writes the state file, and logs what has changed.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = read_tunnel_state(path) or TunnelState(up=False, time=0.0)

    def up(self, address: str) -> None:
        """The tunnel is open at a public address."""
        before, previous = self._state.before, self._state.address
        if previous and address != previous:
            before = previous
            log.warning("the tunnel's address has changed: it was %s, it is %s", previous, address)
        self._write(TunnelState(up=True, address=address, before=before, time=time.time()))

    def down(self, reason: str) -> None:
        """There is no tunnel, and why. The address is kept: the tunnel may come back there."""
        self._write(self._state.model_copy(update={"up": False, "words": reason, "time": time.time()}))

    def _write(self, state: TunnelState) -> None:
        previous, self._state = self._state, state
        write_atomic(self._path, state.model_dump_json().encode(), mode=0o644)  # the hub may be another user
        if previous.model_copy(update={"time": state.time}) == state:
            return
        if state.up:
            log.info("remote access at %s", state.address)
        else:
            log.warning("no tunnel: %s The local network is not affected.", state.words)


def serve(settings: TunnelSettings) -> None:
    """Keep a tunnel open until SIGTERM or SIGINT."""
    set_up_logging()
    stop, token, writer, delay = stop_on_signals(), take_token(), TunnelStateWriter(settings.tunnel_file), RETRY_FIRST_S
    while not stop.is_set():
        try:
            if not token:
                raise TunnelError("H7", NO_TOKEN)
            with contextlib.closing(NgrokAgent(settings.ngrok_path, token)) as agent:
                writer.up(agent.open(settings.gateway_address, settings.remote_addr))
                while not stop.wait(CHECK_S):
                    address = agent.address()
                    if agent.lost:
                        writer.down(LOST)
                    else:
                        writer.up(address)
        except TunnelError as exc:
            reason = str(exc).replace(token, "...") if token else str(exc)
            end = time.monotonic() + delay
            delay = min(delay * 1.6, RETRY_MOST_S)
            while time.monotonic() < end and not stop.is_set():
                writer.down(reason)  # repeatedly: the hub takes an old file for that of a dead process
                stop.wait(CHECK_S)
    writer.down("The tunnel was stopped.")
