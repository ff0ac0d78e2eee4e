"""The page Clinics."""

from functools import partial

import gradio as gr

from embryofl.errors import UserError
from embryofl_console.pages.context import PageContext, choices, chooser, names_of, or_trouble, text
from embryofl_console.texts import texts
from embryofl_console.views import clinics as view
from embryofl_console.views.parts import done, trouble

t = texts.clinics


def build(context: PageContext) -> None:
    """Build the page."""
    context.follow(gr.HTML(), lambda state, _: view.roster(state))
    _approve(context)
    with gr.Accordion(t.one, open=True):
        _one(context)
    with gr.Accordion(texts.invite.title, open=False):
        _invite(context)
    with gr.Accordion(texts.local.title, open=False):
        _local(context)


def _approve(context: PageContext) -> None:
    """Shown only while a clinic awaits approval."""
    with gr.Group(visible=False) as group:
        gr.HTML(f"<h3>{t.approve_title}</h3>")
        name = context.follow(chooser(t.awaiting), names_of("waiting"))
        reason = text(t.decline_reason, 300)
        with gr.Row():
            approve, decline = gr.Button(t.approve, variant="primary"), gr.Button(t.decline)
        outcome = gr.HTML()
    context.follow(group, lambda state, _: gr.update(visible=bool(state and state["to_approve"])))
    approve.click(lambda n: context.act("approve", {"name": n or ""}), name, outcome)
    decline.click(lambda n, r: context.act("refuse", {"name": n or "", "reason": r}), [name, reason], outcome)


def _one(context: PageContext) -> None:
    """One clinic: its record, and what can be done with it."""
    name = context.follow(chooser(texts.common.clinic), names_of())
    record = gr.HTML()
    reason = text(t.reason, 300)
    with gr.Row():
        suspend, reinstate = gr.Button(t.suspend), gr.Button(t.reinstate)
    with gr.Accordion(t.rename_or_revoke, open=False):
        with gr.Row(elem_classes="inline"):
            to = text(t.new_name, 40, scale=3)
            rename = gr.Button(t.rename, scale=1)
        with gr.Row(elem_classes="inline"):
            again = text(t.revoke_sure, 40, scale=3)
            revoke = gr.Button(t.revoke, variant="stop", scale=1)
    outcome = gr.HTML()

    @or_trouble
    def show(clinic: str | None) -> str:
        return view.record(context.get("clinics", clinic)) if clinic else ""

    def end(clinic: str | None, typed: str, why: str) -> str:
        if not clinic or clinic != typed:
            return trouble(t.not_the_same)
        return context.act("revoke", {"name": clinic, "reason": why})

    name.change(show, name, record)
    for button, act, fields in (
        (suspend, lambda n, r: context.act("suspend", {"name": n or "", "reason": r}), [name, reason]),
        (reinstate, lambda n: context.act("resume", {"name": n or ""}), [name]),
        (rename, lambda n, new: context.act("rename", {"name": n or "", "to": new}), [name, to]),
        (revoke, end, [name, again, reason]),
    ):
        button.click(act, fields, outcome).then(show, name, record, show_progress="hidden")


def _invite(context: PageContext) -> None:
    gr.HTML(f"<p>{texts.invite.intro}</p>")
    with gr.Row():
        name = text(texts.invite.name, 40, placeholder="lisbon")
        days = gr.Number(7, label=texts.invite.days, minimum=1, maximum=366, precision=0)
    create = gr.Button(texts.invite.create, variant="primary")
    outcome = gr.HTML()
    context.follow(gr.HTML(), lambda state, _: view.invites(state))
    with gr.Row(elem_classes="inline"):
        unused = chooser(texts.invite.open, scale=3)
        withdraw = gr.Button(texts.invite.withdraw, scale=1)
    context.follow(unused, choices(lambda state: sorted(i["name"] for i in view.open_invites(state))))

    @or_trouble
    def invite(clinic: str, valid: float) -> str:
        body = {"name": clinic.strip(), "days": valid or 0}
        return view.invited(clinic.strip(), context.client.call("POST", "/control/invites", body))

    create.click(invite, [name, days], outcome)
    withdraw.click(lambda n: context.act("invites/withdraw", {"name": n or ""}), unused, outcome)


def _local(context: PageContext) -> None:
    """Test clinics on this machine: started and stopped here in `make demo`, by a line for a terminal in containers."""
    if not context.local.available:
        compose = context.settings.mode == "compose"
        gr.HTML(view.compose_lines() if compose else f"<p>{texts.local.none}</p>")
        return
    listed = gr.HTML()
    name = chooser(texts.local.clinic)
    with gr.Row():
        start, stop = gr.Button(texts.local.start), gr.Button(texts.local.stop)
    refresh = gr.Button(texts.local.refresh, size="sm")
    outcome = gr.HTML()

    def states() -> dict[str, str]:
        try:
            return context.local.states()
        except UserError:  # shown where a clinic is started, stopped or refreshed
            return {}

    # Whenever the hub's state changes, also when the page is opened.
    context.follow(listed, lambda state, _: view.local(states()))
    context.follow(name, choices(lambda state: sorted(states())))

    @or_trouble
    def steer(action: str, message: str, clinic: str | None) -> str:
        context.local.act(action, clinic or "")
        return done(message)

    show = or_trouble(lambda: view.local(context.local.states()))
    for button, action, message in ((start, "start", texts.local.started), (stop, "stop", texts.local.stopped)):
        button.click(partial(steer, action, message), name, outcome).then(show, None, listed, show_progress="hidden")
    refresh.click(show, None, listed)
