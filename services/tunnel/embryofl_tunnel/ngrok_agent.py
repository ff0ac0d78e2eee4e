"""ngrok's agent, by pyngrok: started, asked, stopped. The token lies in a file that only this user reads.

pyngrok would put a token on the agent's command line, and download an agent where there is none: both are kept from
happening here. ngrok's own messages quote the token, so that none is passed on: its error code says it as well.
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

DASHBOARD = "https://dashboard.ngrok.com"
_TOKEN_AT = f"{DASHBOARD}/get-started/your-authtoken"
_WORDS = {
    "ERR_NGROK_105": f"NGROK_AUTHTOKEN is not a token of ngrok's: copy it again from {_TOKEN_AT}.",
    "ERR_NGROK_107": f"ngrok does not know the token in NGROK_AUTHTOKEN any more: take the one at {_TOKEN_AT}.",
    "ERR_NGROK_4018": f"ngrok wants a token: set NGROK_AUTHTOKEN to the one at {_TOKEN_AT}.",
    "ERR_NGROK_108": f"This ngrok account may not have more agents: stop one ({DASHBOARD}/agents), or take another plan.",
    "ERR_NGROK_302": f"This ngrok account may not open TCP tunnels yet: add what ngrok asks for at {DASHBOARD}.",
    "ERR_NGROK_334": "Another agent uses this address already: stop that one, or reserve another address.",
}
_LOST = ("session closed, starting reconnect loop", "failed to reconnect session", "heartbeat timeout")
_BACK = ("client session established", "tunnel session started")


class TunnelError(Exception):
    """There is no tunnel; the text says why, and what to do."""


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
        Whether the agent has lost ngrok and tries to come back.
    """

    def __init__(self, path: Path, token: str) -> None:
        for noisy in ("pyngrok", "pyngrok.process", "pyngrok.process.ngrok", "pyngrok.ngrok"):
            logging.getLogger(noisy).disabled = True  # they pass on what ngrok says, token and all
        self.lost = False
        self._path = path
        self._folder = Path(tempfile.mkdtemp(prefix="embryofl-tunnel-"))  # mode 0700
        config = self._folder / "ngrok.yml"
        with os.fdopen(os.open(config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f'version: "2"\nauthtoken: {json.dumps(token)}\n')  # JSON is YAML
        self._config = conf.PyngrokConfig(
            ngrok_path=str(path),
            config_path=str(config),
            config_version="2",
            log_event_callback=self._heard,
            monitor_thread=True,
            request_timeout=20,
        )

    def _heard(self, line: NgrokLog) -> None:
        said = line.msg or ""
        if any(words in said for words in _LOST):
            self.lost = True
        elif any(words in said for words in _BACK):
            self.lost = False

    def open(self, gateway: str, remote: str) -> str:
        """Start the agent and open a TCP tunnel to `gateway`; returns its public address, host:port.

        Raises
        ------
        TunnelError
        """
        if not self._path.is_file() or not os.access(self._path, os.X_OK):
            raise TunnelError(
                f"ngrok's agent is missing: {self._path} is no program. It is never downloaded by itself: get it from "
                "https://ngrok.com/download and name it with NGROK_AGENT=/path/to/ngrok."
            )
        try:
            options = {"remote_addr": remote} if remote else {}
            ngrok.connect(gateway, "tcp", "embryofl", self._config, **options)
        except (PyngrokError, OSError) as exc:
            raise TunnelError(_words(exc)) from None
        return self.address()

    def address(self) -> str:
        """The tunnel's public address as of now.

        Raises
        ------
        TunnelError
            When the agent has died, or there is no tunnel any more.
        """
        if not process.is_process_running(str(self._path)):
            raise TunnelError("ngrok's agent has ended; it is started again.")
        try:
            found = [t.public_url for t in ngrok.get_tunnels(self._config) if t.proto == "tcp" and t.public_url]
        except (PyngrokError, OSError) as exc:
            raise TunnelError(_words(exc)) from None
        if not found:
            raise TunnelError("ngrok has closed the tunnel; it is opened again.")
        return str(urlsplit(found[0]).netloc)

    def close(self) -> None:
        """Stop the agent and remove the token."""
        ngrok.kill(self._config)
        shutil.rmtree(self._folder, ignore_errors=True)


def _words(exc: Exception) -> str:
    text = " ".join(str(x) for x in (exc, getattr(exc, "ngrok_error", ""), getattr(exc, "body", "")))
    code = re.search(r"ERR_NGROK_\d+", text)
    if code is None:
        return f"ngrok's agent could not open a tunnel ({type(exc).__name__}). Does this machine reach the internet?"
    known = _WORDS.get(
        code.group(), f"ngrok does not open a tunnel: see https://ngrok.com/docs/errors/{code.group().lower()}."
    )
    return f"{known} ({code.group()})"
