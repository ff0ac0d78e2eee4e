"""The page Results: the figures of a run that is over, its model card, downloads."""

from typing import Any
from urllib.parse import quote

import gradio as gr

from embryofl.errors import UserError
from embryofl_console import texts
from embryofl_console.pages.context import PageContext, State, chooser
from embryofl_console.views import results as view
from embryofl_console.views.parts import trouble

KEPT = 4  # runs whose results are kept here, for who looks at one clinic after the other


class _ResultsCache:
    """Results that were asked for just now: they do not change once a run is over."""

    def __init__(self, desk: PageContext) -> None:
        self._desk = desk
        self._found: dict[str, State] = {}

    def get(self, run: str) -> State:
        """The results of a run; `UserError` when there are none."""
        if run not in self._found:
            found: State = self._desk.client.call("GET", f"/control/runs/{quote(run, safe='')}/results")
            while len(self._found) >= KEPT:
                del self._found[next(iter(self._found))]
            self._found[run] = found
        return self._found[run]


def build(desk: PageContext) -> None:
    """Put the page together."""
    shelf = _ResultsCache(desk)
    none = gr.HTML()
    desk.follow(none, lambda state, _: "" if view.with_results(state) else f"<p>{texts.NO_RESULTS}</p>")
    with gr.Row():
        run = chooser(texts.RUN, info=texts.RESULTS_OF)
        split = gr.Dropdown(
            [(texts.TEST, "test"), (texts.VALIDATION, "validation")],
            value="test",
            label=texts.SPLIT,
            info=texts.SPLIT_INFO,
        )
    with gr.Row():
        clinic = gr.Dropdown([(texts.ALL_CLINICS, "pooled")], value="pooled", label=texts.WHOSE)
        day = gr.Dropdown([(texts.ALL_DAYS, "all")], value="all", label=texts.WHICH_DAY)
    desk.follow(run, lambda state, _: gr.update(choices=view.with_results(state)))
    head, page = gr.HTML(), gr.HTML()
    with gr.Accordion(texts.CARD_TITLE, open=False):
        show_card = gr.Button(texts.SHOW_CARD)
        card = gr.HTML()

    def show(name: str | None, of_split: str, of_clinic: str, of_day: str) -> str:
        if not name:
            return ""
        try:
            return view.page(shelf.get(name), of_split, of_clinic, of_day)
        except UserError as exc:
            return trouble(exc)

    def chosen(name: str | None) -> list[Any]:
        """Another run: its clinics and days."""
        if not name:
            return [gr.skip()] * 3
        try:
            found = shelf.get(name)
        except UserError as exc:
            return [gr.skip(), gr.skip(), trouble(exc)]
        return [
            gr.update(choices=view.clinics(found), value="pooled"),
            gr.update(choices=view.days(found), value="all"),
            view.head(name, found),
        ]

    def read_card(name: str | None) -> str:
        if not name:
            return ""
        try:
            answer = desk.client.ask("GET", f"/control/runs/{quote(name, safe='')}/files/model-card.html")
        except UserError as exc:
            return trouble(exc)
        return view.card(name, answer.text)

    # The order matters: first who and which days there are, then the figures.
    run.change(chosen, run, [clinic, day, head]).then(show, [run, split, clinic, day], page).then(
        lambda: "", None, card
    )
    gr.on([split.change, clinic.change, day.change], show, [run, split, clinic, day], page, show_progress="hidden")
    show_card.click(read_card, run, card)
