"""The page Overview."""

import gradio as gr

from embryofl_console.pages.context import PageContext
from embryofl_console.texts import texts
from embryofl_console.views import overview as view


def build(context: PageContext) -> None:
    """Build the page."""
    context.follow(gr.HTML(texts.page.loading), view.page)
