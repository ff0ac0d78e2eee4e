"""The page Results: the metrics of a run that has ended, its model card, downloads."""

import functools
from typing import Any
from urllib.parse import quote

import gradio as gr

from embryofl.errors import UserError
from embryofl_console.pages.context import PageContext, State, choices, chooser, or_trouble
from embryofl_console.texts import texts
from embryofl_console.views import results as view
from embryofl_console.views.parts import p, trouble
from embryofl_console.views.runs import names

KEPT = 4  # runs whose results are kept here, for looking at one clinic after the other
t = texts.results


def _runs(state: State | None) -> list[str]:
    return names(state, with_results=True)


def build(context: PageContext) -> None:
    """Build the page."""

    @functools.lru_cache(KEPT)  # they do not change once a run has ended; an error is not kept
    def results_of(name: str) -> State:
        results: State = context.get("runs", name, "results")
        return results

    context.follow(gr.HTML(), lambda state, _: "" if _runs(state) else p(t.none))
    with gr.Row():
        run = context.follow(chooser(texts.common.run, info=t.run_info), choices(_runs))
        splits = [(label, value) for value, label in texts.split.items()]
        split = gr.Dropdown(splits, value="test", label=t.split, info=t.split_info)
    with gr.Row():
        clinic = gr.Dropdown([(texts.common.all_clinics, "pooled")], value="pooled", label=t.whose)
        day = gr.Dropdown([(texts.common.all_days, "all")], value="all", label=t.day)
    head, page = gr.HTML(), gr.HTML()
    with gr.Accordion(t.card_title, open=False):
        show_card = gr.Button(t.show_card)
        card = gr.HTML()

    @or_trouble
    def show(name: str | None, of_split: str, of_clinic: str, of_day: str) -> str:
        return view.page(results_of(name), of_split, of_clinic, of_day) if name else ""

    def chosen(name: str | None) -> list[Any]:
        """Another run: its clinics and days."""
        if not name:
            return [gr.skip()] * 3
        try:
            results = results_of(name)
        except UserError as exc:
            return [gr.skip(), gr.skip(), trouble(exc)]
        clinics = gr.update(choices=view.clinics(results), value="pooled")
        return [clinics, gr.update(choices=view.days(results), value="all"), view.head(name, results)]

    @or_trouble
    def read_card(name: str | None) -> str:
        if not name:
            return ""
        response = context.client.ask("GET", f"/control/runs/{quote(name, safe='')}/files/model-card.html")
        return view.card(name, response.text)

    # The order matters: first the clinics and days to choose from, then the results.
    fields = [run, split, clinic, day]
    run.change(chosen, run, [clinic, day, head]).then(show, fields, page).then(lambda: "", None, card)
    gr.on([split.change, clinic.change, day.change], show, fields, page, show_progress="hidden")
    show_card.click(read_card, run, card)
