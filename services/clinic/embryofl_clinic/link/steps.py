"""Where the trainer waits for the steps of a masked round: a signed URL of the hub, in place of polls of the SuperLink."""

import logging
import threading

import httpx
from pydantic import ValidationError

from embryofl.invite import HUB_NAME
from embryofl.messages import Delivery
from embryofl_clinic.joining.route import Route
from embryofl_clinic.link.fleet_link import Incoming

log = logging.getLogger("embryofl.link")

TRIES, RETRY_S = 5, 0.3  # asking again does no harm
TIMEOUT_S = 15.0  # the hub replies within a few seconds, also if there is nothing to do


class StepLink:
    """One address of the hub, for as long as it works. A reply is sent with the question for the next request.

    Not for several threads at once.

    Parameters
    ----------
    route : Route
    url : str
        Path and query.
    stop : threading.Event
        Ends the wait for a hub that is not reached.

    Attributes
    ----------
    url : str
    closed : bool
        The next request is found where it was before.
    """

    def __init__(self, route: Route, url: str, stop: threading.Event) -> None:
        self._client, self.url, self._stop = route.client(TIMEOUT_S), url, stop
        self._done = Delivery()
        self.closed = False

    def receive(self) -> Incoming | None:
        """Send the last reply and wait up to some seconds for the next request; None if there is none, or when closed."""
        for left in reversed(range(TRIES)):
            try:
                response = self._client.post(f"https://{HUB_NAME}{self.url}", json=self._done.model_dump())
                if response.status_code == httpx.codes.NO_CONTENT:
                    self._done = Delivery(number=self._done.number)
                    return None
                following = Delivery.model_validate_json(response.raise_for_status().content)
                self._done = Delivery(number=following.number)
                return Incoming(following.text, following.number)
            except (httpx.HTTPError, ValidationError) as exc:
                refused = isinstance(exc, httpx.HTTPStatusError) and exc.response.status_code < 500
                if refused or not left or self._stop.wait(RETRY_S):
                    log.debug("the hub sends its requests elsewhere (%s)", type(exc).__name__)
                    break
        self.close()
        return None

    def reply(self, incoming: Incoming, text: str, seconds: float) -> None:
        """Reply to a request with a JSON text."""
        self._done = Delivery(number=incoming.message, text=text)

    def report_failure(self, incoming: Incoming, kind: str, seconds: float) -> None:
        """Report that the work failed. `kind` is the name of an error's type: texts may hold paths or identifiers."""
        self._done = Delivery(number=incoming.message, error=kind)

    def close(self) -> None:
        """Wait here no longer."""
        self.closed = True
        self._client.close()
