"""The page Connection: addresses, certificates, tunnel, audit log, monitoring."""

from typing import Any
from urllib.parse import urlencode

import gradio as gr

from embryofl.errors import UserError
from embryofl_console import texts
from embryofl_console.pages.context import PageContext, chooser, names_of
from embryofl_console.views import hub as view
from embryofl_console.views.parts import trouble


def build(desk: PageContext) -> None:
    """Put the page together."""
    desk.follow(gr.HTML(), lambda state, _: view.connection(state))
    gr.HTML(view.monitoring(desk.settings.grafana_url, desk.settings.prometheus_url))
    with gr.Accordion(texts.AUDIT_TITLE, open=True):
        _audit(desk)


def _audit(desk: PageContext) -> None:
    with gr.Row():
        event = gr.Dropdown([texts.ANY], value=texts.ANY, label=texts.EVENT, allow_custom_value=True)
        clinic = chooser(texts.CLINIC)
        run = chooser(texts.RUN)
        last = gr.Number(50, label=texts.LAST, minimum=1, maximum=500, precision=0)
    desk.follow(clinic, names_of())
    desk.follow(run, lambda state, _: gr.update(choices=[r["name"] for r in reversed((state or {"runs": []})["runs"])]))
    with gr.Row():
        show, verify = gr.Button(texts.SHOW_AUDIT), gr.Button(texts.VERIFY)
    verdict, listed = gr.HTML(), gr.HTML()

    def look(of_event: str, of_clinic: str | None, of_run: str | None, count: float) -> list[Any]:
        wanted = {
            "event": "" if of_event in (None, texts.ANY) else of_event,
            "clinic": of_clinic or "",
            "run": of_run or "",
            "last": int(count or 50),
        }
        try:
            found = desk.client.call("GET", f"/control/audit?{urlencode(wanted)}")
        except UserError as exc:
            return [gr.skip(), trouble(exc)]
        return [gr.update(choices=[texts.ANY, *found["events"]]), view.audit(found["entries"])]

    filters = [event, clinic, run, last]
    show.click(look, filters, [event, listed])
    gr.on([event.input, clinic.input, run.input], look, filters, [event, listed], show_progress="hidden")
    verify.click(lambda: desk.look("/control/audit/verify", view.verified), None, verdict)
