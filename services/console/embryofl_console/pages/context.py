"""What the pages share: the hub, actions and their outcome, components that follow the hub's state."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import gradio as gr

from embryofl.errors import UserError
from embryofl_console.hub import HubClient
from embryofl_console.local_clinics import LocalClinics
from embryofl_console.settings import ConsoleSettings
from embryofl_console.texts import texts
from embryofl_console.views.parts import done, trouble

State = dict[str, Any]
View = Callable[[State | None, str], Any]


@dataclass
class PageContext:
    """Passed to every page.

    Attributes
    ----------
    live : list of (component, view)
        A component and how its value follows from the hub's newest state and the connection's error ("" for none).
    """

    client: HubClient
    settings: ConsoleSettings
    local: LocalClinics
    live: list[tuple[Any, View]] = field(default_factory=list)

    def follow(self, component: Any, view: View) -> Any:
        """Have a component follow the hub's state; returns the component."""
        self.live.append((component, view))
        return component

    def act(self, path: str, body: dict[str, Any], outcome: str = texts.page.done) -> str:
        """Have the hub do something; the outcome as HTML."""
        try:
            self.client.call("POST", f"/control/{path}", body)
        except UserError as exc:
            return trouble(exc)
        return done(outcome)

    def get(self, *path: str) -> Any:
        """What the hub has at a path below `/control`, whose parts are quoted. Raises `UserError`."""
        return self.client.call("GET", "/control/" + "/".join(quote(part, safe="") for part in path))


def or_trouble(make: Callable[..., str]) -> Callable[..., str]:
    """The function with a `UserError` as HTML for its result."""

    @functools.wraps(make)
    def made(*values: Any) -> str:
        try:
            return make(*values)
        except UserError as exc:
            return trouble(exc)

    return made


def text(label: str, most: int, **more: Any) -> gr.Textbox:
    """A field for text of at most `most` characters; empty at first."""
    return gr.Textbox("", label=label, max_length=most, **more)


def chooser(label: str, **more: Any) -> gr.Dropdown:
    """A list that follows the hub. A choice that has gone since is passed on, so that the hub reports it."""
    return gr.Dropdown([], label=label, allow_custom_value=True, **more)


def choices(of: Callable[[State | None], Any]) -> View:
    """A dropdown's choices, from the hub's state."""
    return lambda state, _: gr.update(choices=of(state))


def names_of(*states: str) -> View:
    """A dropdown's choices: the clinics in these states (all without any)."""
    return choices(
        lambda state: [c["name"] for c in (state or {"roster": []})["roster"] if not states or c["state"] in states]
    )
