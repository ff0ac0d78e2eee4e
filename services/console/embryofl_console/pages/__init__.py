"""The pages, in Gradio: one module each."""

from typing import Any

import gradio as gr

from embryofl_console import texts
from embryofl_console.hub import Follower, HubClient
from embryofl_console.local_clinics import LocalClinics
from embryofl_console.pages import clinics, hub, overview, results, runs
from embryofl_console.pages.context import PageContext
from embryofl_console.settings import ConsoleSettings

TICK_S = 1.0
PAGES = (
    (texts.NOW, overview),
    (texts.CLINICS, clinics),
    (texts.TRAINING, runs),
    (texts.RESULTS, results),
    (texts.CONNECTION, hub),
)


def build(client: HubClient, follower: Follower, settings: ConsoleSettings) -> gr.Blocks:
    """All pages."""
    desk = PageContext(client, settings, LocalClinics(settings.demo_socket))
    with gr.Blocks(title=texts.TITLE, analytics_enabled=False) as blocks:
        gr.HTML(
            f'<header class="top"><h1>{texts.TITLE}</h1><p>{texts.RESEARCH}</p>'
            f'<p class="out"><a href="/logout">{texts.LOG_OUT}</a></p></header>'
        )
        for name, page in PAGES:
            with gr.Tab(name):
                page.build(desk)
        _follow(blocks, follower, desk)
    return blocks


def _follow(blocks: gr.Blocks, follower: Follower, desk: PageContext) -> None:
    """Once a second each open page takes what has changed, and nothing else: a selection or a scroll place stays."""
    seen = gr.State((-1, {}))

    def tick(before: tuple[int, dict[int, Any]]) -> Any:
        version, state, trouble = follower.now()
        if version == before[0]:
            return [gr.skip()] * (1 + len(desk.live))
        values, sent = [], {}
        for number, (_, view) in enumerate(desk.live):
            value = view(state, trouble)
            sent[number] = hash(repr(value))
            values.append(gr.skip() if before[1].get(number) == sent[number] else value)
        return [(version, sent), *values]

    out = [seen, *(component for component, _ in desk.live)]
    timer = gr.Timer(TICK_S)
    timer.tick(tick, seen, out, show_progress="hidden", queue=False)
    blocks.load(tick, seen, out, show_progress="hidden", queue=False)
