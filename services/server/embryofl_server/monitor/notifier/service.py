"""The notifier's process."""

import http.client
import json
import logging
import secrets
import ssl
import time
import urllib.error
import urllib.request
from functools import partial

from pydantic import TypeAdapter, ValidationError

from embryofl.errors import UserError
from embryofl.files import write_atomic
from embryofl.process import set_up_logging, stop_on_signals
from embryofl_server.monitor.notices import Notice
from embryofl_server.monitor.notifier.mail import send_mail
from embryofl_server.monitor.notifier.message import trial_message
from embryofl_server.monitor.notifier.outbox import Outbox, Send, Settled
from embryofl_server.monitor.notifier.settings import Channels, NotifierSettings, load_settings, read_channels
from embryofl_server.monitor.notifier.state import NotifierState, Told, read_state
from embryofl_server.monitor.notifier.webhook import send_webhook

log = logging.getLogger("embryofl.notifier")

POLL_S, TIMEOUT_S, MOST_BYTES = 10.0, 20.0, 1 << 20
NOTICES = TypeAdapter(list[Notice])


def ways(channels: Channels) -> dict[str, Send]:
    """How to send, by channel."""
    found: dict[str, Send] = {}
    if channels.mail:
        found["mail"] = partial(send_mail, channels.mail)
    if channels.webhook:
        found["webhook"] = partial(send_webhook, channels.webhook)
    return found


class Notifier:
    """Asks the hub, and tells people.

    Parameters
    ----------
    settings : NotifierSettings
        With its state file, which is made when missing.
    channels : Channels
        Whom to tell.
    """

    def __init__(self, settings: NotifierSettings, channels: Channels) -> None:
        self._settings = settings
        self._state = read_state(settings.file) or NotifierState(id=secrets.token_hex(8))
        self._outboxes = {
            name: Outbox(self._state.channels.get(name, Told()), send, f"{self._state.id} {name}")
            for name, send in ways(channels).items()
        }
        self._settled = Settled(key for outbox in self._outboxes.values() for key in outbox.told.keys or [])
        self._written = False

    def look(self, now: float) -> None:
        """Ask once, tell what there is to tell, and write down what was told. `now`: Unix time in seconds."""
        present, hub = None, ""
        try:
            present = ask(self._settings)
        except UserError as exc:
            hub = str(exc)
        settled = self._settled.take(present, now)
        for outbox in self._outboxes.values():
            if present is not None or outbox.told.keys is not None:
                outbox.tell(settled, now)
        self._keep(hub)

    def _keep(self, hub: str) -> None:
        told = {name: outbox.told for name, outbox in self._outboxes.items()}
        state = NotifierState(id=self._state.id, hub=hub, channels=told)
        _log_what_changed(self._state, state)
        changed, self._state = state != self._state or not self._written, state
        try:
            if changed:
                write_atomic(
                    self._settings.file, state.model_dump_json().encode(), mode=0o644
                )  # the hub is another user
                self._written = True
            else:
                self._settings.file.touch()
        except (OSError, UserError) as exc:
            self._written = False
            log.error("what was told cannot be written to %s: %s", self._settings.file, exc)


def _log_what_changed(before: NotifierState, after: NotifierState) -> None:
    if after.hub and after.hub != before.hub:
        log.warning("the hub cannot be asked: %s", after.hub)
    for name, told in after.channels.items():
        previous = before.channels.get(name, Told())
        if told.words and told.words != previous.words:
            log.warning("%s: %s", name, told.words)
        elif told.number > previous.number:
            log.info("%s: sent message %d", name, told.number)


def ask(settings: NotifierSettings) -> list[Notice]:
    """What holds at the hub; `UserError` if it does not respond."""
    try:
        token = (settings.identity / "notices.token").read_bytes().hex()
        context = ssl.create_default_context(cafile=str(settings.identity / "internal.crt"))
        request = urllib.request.Request(
            f"https://{settings.hub}/control/notices", headers={"Authorization": f"Bearer {token}"}
        )
        handlers = (
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=context),
        )  # never through a proxy
        with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT_S) as response:
            return NOTICES.validate_python([tuple(n) for n in json.loads(response.read(MOST_BYTES))])
    except urllib.error.HTTPError as exc:
        raise UserError("H1", f"The hub at {settings.hub} answered {exc.code}. Is it of another version?") from None
    except (OSError, http.client.HTTPException) as exc:
        reason = getattr(exc, "reason", exc)
        raise UserError(
            "H1", f"The hub at {settings.hub} did not reply ({reason}). Check that it is running: make status."
        ) from None
    except (ValueError, TypeError, ValidationError):
        raise UserError("H1", f"The answer of the hub at {settings.hub} cannot be read.") from None


def serve() -> None:
    """Tell people until SIGTERM or SIGINT."""
    set_up_logging()
    settings = load_settings()
    notifier, stop = Notifier(settings, read_channels(settings.settings)), stop_on_signals()
    while not stop.is_set():
        notifier.look(time.time())
        stop.wait(POLL_S)


def send_trials() -> dict[str, str]:
    """Send a test message by each channel: what went wrong, by channel, "" for nothing."""
    number, failures = secrets.token_hex(8), {}
    for name, send in ways(read_channels(load_settings().settings)).items():
        try:
            failures[name] = send(trial_message(f"{number} {name}"))
        except UserError as exc:
            failures[name] = str(exc)
    return failures
