"""What the pages share: the hub, what came of an action, and what follows the hub's state by itself."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from embryofl.errors import UserError
from embryofl_console import texts
from embryofl_console.hub import HubClient
from embryofl_console.local_clinics import LocalClinics
from embryofl_console.settings import ConsoleSettings
from embryofl_console.views.parts import done, trouble

State = dict[str, Any]
View = Callable[[State | None, str], Any]


@dataclass
class PageContext:
    """The pages' common ground.

    Attributes
    ----------
    live : list of (component, view)
        A component and how its value follows from the hub's newest state and what is wrong with the connection.
    """

    client: HubClient
    settings: ConsoleSettings
    local: LocalClinics
    live: list[tuple[Any, View]] = field(default_factory=list)

    def follow(self, component: Any, view: View) -> None:
        """Have a component follow the hub's state."""
        self.live.append((component, view))

    def act(self, path: str, body: dict[str, Any], words: str = texts.DONE) -> str:
        """Ask the hub to do something; what came of it, as HTML."""
        try:
            self.client.call("POST", path, body)
        except UserError as exc:
            return trouble(exc)
        return done(words)

    def look(self, path: str, view: Callable[[Any], str]) -> str:
        """Ask the hub for something; how it looks, as HTML."""
        try:
            return view(self.client.call("GET", path))
        except UserError as exc:
            return trouble(exc)


def text(label: str, most: int, **more: Any) -> gr.Textbox:
    """A field for text of at most so many characters; empty at first."""
    return gr.Textbox("", label=label, max_length=most, **more)


def chooser(label: str, **more: Any) -> gr.Dropdown:
    """A list that follows the hub. What was chosen and has gone since is passed on, for the hub to say what it is."""
    return gr.Dropdown([], label=label, allow_custom_value=True, **more)


def names_of(*states: str) -> View:
    """A dropdown's choices: the clinics in these states (all without any)."""

    def view(state: State | None, _: str) -> Any:
        found = [c["name"] for c in (state or {"roster": []})["roster"] if not states or c["state"] in states]
        return gr.update(choices=found)

    return view
