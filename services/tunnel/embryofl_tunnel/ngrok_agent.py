"""Starts and stops ngrok's agent by pyngrok. The token is in a file that only this user can read.

pyngrok would put a token on the agent's command line, and download a missing agent: both are prevented here. ngrok's own
messages quote the token, so none is passed on, only its error code.
"""

import json
import logging
import os
import re
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from pyngrok import conf, ngrok, process
from pyngrok.exception import PyngrokError
from pyngrok.log import NgrokLog

from embryofl.errors import UserError
from embryofl.files import write_atomic

DASHBOARD = "https://dashboard.ngrok.com"
TOKEN_PAGE = f"{DASHBOARD}/get-started/your-authtoken"
_REMEDIES = {
    "ERR_NGROK_105": f"NGROK_AUTHTOKEN is not an ngrok token. Copy it again from {TOKEN_PAGE}.",
    "ERR_NGROK_107": f"ngrok no longer accepts the token in NGROK_AUTHTOKEN. Use the one at {TOKEN_PAGE}.",
    "ERR_NGROK_4018": f"ngrok requires a token. Set NGROK_AUTHTOKEN to the one at {TOKEN_PAGE}.",
    "ERR_NGROK_108": f"This ngrok account is at its limit of agents. Stop one ({DASHBOARD}/agents), or change the plan.",
    "ERR_NGROK_302": f"This ngrok account may not open TCP tunnels yet. Add what ngrok asks for at {DASHBOARD}.",
    "ERR_NGROK_334": "Another agent already uses this address. Stop that agent, or reserve another address.",
}
_LOST = ("session closed, starting reconnect loop", "failed to reconnect session", "heartbeat timeout")
_BACK = ("client session established", "tunnel session started")


class TunnelError(UserError):
    """There is no tunnel."""


class NgrokAgent:
    """One agent and its tunnel.

    Parameters
    ----------
    path : Path
        ngrok's agent.
    token : str
        Of the ngrok account.

    Attributes
    ----------
    lost : bool
        Whether the agent has lost its connection to ngrok and is reconnecting.
    """

    def __init__(self, path: Path, token: str) -> None:
        for name in ("pyngrok", "pyngrok.process", "pyngrok.process.ngrok", "pyngrok.ngrok"):
            logging.getLogger(name).disabled = True  # ngrok's messages contain the token
        self.lost = False
        self._path = path
        self._folder = Path(tempfile.mkdtemp(prefix="embryofl-tunnel-"))  # mode 0700
        config = self._folder / "ngrok.yml"
        write_atomic(config, f'version: "2"\nauthtoken: {json.dumps(token)}\n'.encode(), 0o600)  # JSON is YAML
        self._config = conf.PyngrokConfig(
            ngrok_path=str(path),
            config_path=str(config),
            config_version="2",
            log_event_callback=self._on_log_line,
            monitor_thread=True,
            request_timeout=20,
        )

    def _on_log_line(self, line: NgrokLog) -> None:
        if any(message in (line.msg or "") for message in _LOST):
            self.lost = True
        elif any(message in (line.msg or "") for message in _BACK):
            self.lost = False

    def open(self, gateway: str, remote: str) -> str:
        """Start the agent and open a TCP tunnel to `gateway`; returns its public address, host:port.

        Raises
        ------
        TunnelError
        """
        if not self._path.is_file() or not os.access(self._path, os.X_OK):
            raise TunnelError(
                "H7",
                f"ngrok's agent is missing: {self._path} is not a program. It is never downloaded automatically. Get it "
                "from https://ngrok.com/download and name it with NGROK_AGENT=/path/to/ngrok.",
            )
        try:
            options = {"remote_addr": remote} if remote else {}
            ngrok.connect(gateway, "tcp", "embryofl", self._config, **options)
        except (PyngrokError, OSError) as exc:
            raise TunnelError("H7", _explain(exc)) from None
        return self.address()

    def address(self) -> str:
        """The tunnel's present public address.

        Raises
        ------
        TunnelError
            When the agent has ended, or the tunnel is closed.
        """
        if not process.is_process_running(str(self._path)):
            raise TunnelError("H7", "ngrok's agent has ended. It is being restarted.")
        try:
            urls = [t.public_url for t in ngrok.get_tunnels(self._config) if t.proto == "tcp" and t.public_url]
        except (PyngrokError, OSError) as exc:
            raise TunnelError("H7", _explain(exc)) from None
        if not urls:
            raise TunnelError("H7", "ngrok has closed the tunnel. It is being reopened.")
        return str(urlsplit(urls[0]).netloc)

    def close(self) -> None:
        """Stop the agent and remove the token."""
        ngrok.kill(self._config)
        shutil.rmtree(self._folder, ignore_errors=True)


def _explain(exc: Exception) -> str:
    text = " ".join(str(x) for x in (exc, getattr(exc, "ngrok_error", ""), getattr(exc, "body", "")))
    code = re.search(r"ERR_NGROK_\d+", text)
    if code is None:
        return f"ngrok's agent cannot open a tunnel ({type(exc).__name__}). Check this machine's internet connection."
    other = f"ngrok does not open a tunnel. See https://ngrok.com/docs/errors/{code.group().lower()}."
    return f"{_REMEDIES.get(code.group(), other)} ({code.group()})"
