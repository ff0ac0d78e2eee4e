"""The page Hub: addresses, certificates, remote access, audit log, monitoring."""

from typing import Any
from urllib.parse import urlencode

import gradio as gr

from embryofl.errors import UserError
from embryofl_console.pages.context import PageContext, choices, chooser, names_of, or_trouble
from embryofl_console.texts import texts
from embryofl_console.views import hub as view
from embryofl_console.views.parts import trouble
from embryofl_console.views.runs import names

t = texts.audit


def build(context: PageContext) -> None:
    """Build the page."""
    context.follow(gr.HTML(), lambda state, _: view.connection(state))
    gr.HTML(view.monitoring(context.settings.grafana_url, context.settings.prometheus_url))
    with gr.Accordion(t.title, open=True):
        _audit(context)


def _audit(context: PageContext) -> None:
    with gr.Row():
        event = gr.Dropdown([t.any], value=t.any, label=t.event, allow_custom_value=True)
        clinic = context.follow(chooser(texts.common.clinic), names_of())
        run = context.follow(chooser(texts.common.run), choices(names))
        last = gr.Number(50, label=t.last, minimum=1, maximum=500, precision=0)
    with gr.Row():
        show, verify = gr.Button(t.show), gr.Button(t.verify)
    verdict, listed = gr.HTML(), gr.HTML()

    def entries(of_event: str, of_clinic: str | None, of_run: str | None, count: float) -> list[Any]:
        query = {
            "event": "" if of_event in (None, t.any) else of_event,
            "clinic": of_clinic or "",
            "run": of_run or "",
            "last": int(count or 50),
        }
        try:
            log = context.client.call("GET", f"/control/audit?{urlencode(query)}")
        except UserError as exc:
            return [gr.skip(), trouble(exc)]
        return [gr.update(choices=[t.any, *log["events"]]), view.audit(log["entries"])]

    filters = [event, clinic, run, last]
    show.click(entries, filters, [event, listed])
    gr.on([event.input, clinic.input, run.input], entries, filters, [event, listed], show_progress="hidden")
    verify.click(or_trouble(lambda: view.verified(context.get("audit", "verify"))), None, verdict)
