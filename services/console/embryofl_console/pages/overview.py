"""The page Now."""

import gradio as gr

from embryofl_console import texts
from embryofl_console.pages.context import PageContext
from embryofl_console.views import overview as view


def build(desk: PageContext) -> None:
    """Put the page together."""
    desk.follow(gr.HTML(texts.LOADING), view.now)
