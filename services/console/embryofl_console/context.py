"""What the pages share: the hub, its newest state, actions and their outcome, templates."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from markupsafe import Markup

from embryofl.errors import UserError
from embryofl.result_charts import by_round
from embryofl.result_charts import texts as shared
from embryofl.states import CLINIC, INVITE, MEMBER, OVER, PHASE, PROCESS, RUN, UNDER_WAY
from embryofl_console.hub import Follower, HubClient
from embryofl_console.local_clinics import LocalClinics
from embryofl_console.logins import Person
from embryofl_console.settings import ConsoleSettings
from embryofl_console.texts import texts
from embryofl_web.site import Site

MOST_NOTES = 100
MOST_FIELDS = 200
State = dict[str, Any]
SITE = Site(
    "embryofl_console",
    "H9",
    {
        "t": texts,
        "shared": shared,
        "kinds": {"clinic": CLINIC, "invite": INVITE, "member": MEMBER, "phase": PHASE, "process": PROCESS, "run": RUN},
        "over": OVER,
        "under_way": UNDER_WAY,
        "app": {
            "name": texts.page.title,
            "brand": texts.page.brand,
            "pages": [(n, "/" if n == "overview" else f"/{n}", text) for n, text in texts.page.tabs.items()],
            "leave": ("/logout", texts.page.log_out),
            "research": texts.page.research,
            "foot": texts.page.foot,
            "here": "/here",
        },
    },
)


async def _typed(request: Request) -> dict[str, str]:
    """A form's fields; of a name that comes twice the last one. Files are rejected."""
    form = await request.form(max_files=0, max_fields=MOST_FIELDS)
    return {name: value for name, value in form.items() if isinstance(value, str)}


Typed = Annotated[dict[str, str], Depends(_typed)]
"""A form's fields as they were typed, for passwords."""


def _fields(typed: Typed) -> dict[str, str]:
    return {name: value.strip() for name, value in typed.items()}


Fields = Annotated[dict[str, str], Depends(_fields)]
"""The same without blanks around them."""


@dataclass
class PageContext:
    """Passed to every page."""

    client: HubClient
    follower: Follower
    settings: ConsoleSettings
    local: LocalClinics
    session_of: Callable[[Request], str]
    person_of: Callable[[str], Person | None]
    _notes: dict[str, tuple[str, str]] = field(default_factory=dict)  # session to tone and text, until it is shown

    def person(self, request: Request) -> Person:
        """Who asks. One whose session has just ended may do nothing."""
        return self.person_of(self.session_of(request)) or Person("", "")

    def show(self, request: Request, name: str, title: str = "", status: int = 200, **values: Any) -> HTMLResponse:
        """A page with the hub's newest state, and the outcome of the last action, once."""
        _, state, trouble = self.follower.now()
        note = None if is_live(request) else self._notes.pop(self.session_of(request), None)
        values = {"state": state, "trouble": trouble, "note": note, "me": self.person(request), **values}
        return SITE.show(name, title, status, **values)

    def done(self, request: Request, address: str, text: str, tone: str = "good") -> Response:
        """Send the browser to a page that shows this outcome."""
        while len(self._notes) >= MOST_NOTES:
            del self._notes[next(iter(self._notes))]
        self._notes[self.session_of(request)] = (tone, text)
        return RedirectResponse(address, 303)

    def act(
        self, request: Request, address: str, path: str, body: Mapping[str, Any], outcome: str = texts.page.done
    ) -> Response:
        """Have the hub do something, and send the browser to the page that shows what came of it."""
        try:
            answer = self.client.call("POST", f"/control/{path}", dict(body))
        except UserError as exc:
            return self.done(request, address, str(exc), "bad")
        self.follower.poll()
        if waits := answer.get("waits"):  # for a second person
            return self.done(request, address, waits, "warn")
        return self.done(request, address, outcome)

    def get(self, *path: str) -> Any:
        """What the hub has at a path below `/control`, whose parts are quoted. Raises `UserError`."""
        return self.client.call("GET", "/control/" + "/".join(quote(part, safe="") for part in path))


def is_live(request: Request) -> bool:
    """Whether an open page asks for its live parts alone: then the hub is asked for nothing else."""
    return "x-live" in request.headers


def curves(courses: Mapping[str, Sequence[Sequence[Any]]], clinics: Collection[str] = ()) -> Markup:
    """Validation AUROC and loss by round, a line per name, as HTML; "" before there are two rounds. A point is round,
    AUROC, loss and what the AUROC is known to either way; `clinics`: see `by_round`."""
    aurocs = {name: [(r, auroc, by) for r, auroc, _, by in its if auroc is not None] for name, its in courses.items()}
    losses = {name: [(r, loss) for r, _, loss, _ in its if loss is not None] for name, its in courses.items()}
    drawn = by_round("auroc", aurocs, clinics) + by_round("loss", losses, clinics)
    return Markup(drawn)  # noqa: S704 - its texts are escaped
