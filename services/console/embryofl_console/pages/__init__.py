"""The pages, in Gradio: one module each."""

from typing import Any

import gradio as gr

from embryofl_console.hub import Follower, HubClient
from embryofl_console.local_clinics import LocalClinics
from embryofl_console.pages import clinics, hub, overview, results, runs
from embryofl_console.pages.context import PageContext
from embryofl_console.settings import ConsoleSettings
from embryofl_console.texts import texts

TICK_S = 1.0
t = texts.page
PAGES = (overview, clinics, runs, results, hub)  # in the order of the tabs' names


def build(client: HubClient, follower: Follower, settings: ConsoleSettings) -> gr.Blocks:
    """All pages."""
    context = PageContext(client, settings, LocalClinics(settings.demo_socket))
    with gr.Blocks(title=t.title, analytics_enabled=False) as blocks:
        gr.HTML(
            f'<header class="top"><h1>{t.title}</h1><p>{t.research}</p>'
            f'<p class="out"><a href="/logout">{t.log_out}</a></p></header>'
        )
        for name, page in zip(t.tabs, PAGES, strict=True):
            with gr.Tab(name):
                page.build(context)
        _follow(blocks, follower, context)
    return blocks


def _follow(blocks: gr.Blocks, follower: Follower, context: PageContext) -> None:
    """Once a second each open page takes what has changed and nothing else, so a selection or scroll position stays."""
    last = gr.State((-1, {}))

    def tick(before: tuple[int, dict[int, Any]]) -> Any:
        version, state, trouble = follower.now()
        if version == before[0]:
            return [gr.skip()] * (1 + len(context.live))
        values, sent = [], {}
        for number, (_, view) in enumerate(context.live):
            value = view(state, trouble)
            sent[number] = hash(repr(value))
            values.append(gr.skip() if before[1].get(number) == sent[number] else value)
        return [(version, sent), *values]

    out = [last, *(component for component, _ in context.live)]
    timer = gr.Timer(TICK_S)
    timer.tick(tick, last, out, show_progress="hidden", queue=False)
    blocks.load(tick, last, out, show_progress="hidden", queue=False)
