"""The page Clinics."""

from typing import Any
from urllib.parse import quote

import gradio as gr

from embryofl.errors import UserError
from embryofl_console import texts
from embryofl_console.pages.context import PageContext, chooser, names_of, text
from embryofl_console.views import clinics as view
from embryofl_console.views.parts import done, trouble


def build(desk: PageContext) -> None:
    """Put the page together."""
    desk.follow(gr.HTML(), lambda state, _: view.roster(state))
    _approve(desk)
    with gr.Accordion(texts.ONE_CLINIC, open=True):
        _one(desk)
    with gr.Accordion(texts.INVITE_TITLE, open=False):
        _invite(desk)
    with gr.Accordion(texts.LOCAL_TITLE, open=False):
        _local(desk)


def _chooser(desk: PageContext, label: str, *states: str) -> gr.Dropdown:
    found = chooser(label)
    desk.follow(found, names_of(*states))
    return found


def _approve(desk: PageContext) -> None:
    """Only there while somebody waits."""
    with gr.Group(visible=False) as group:
        gr.HTML(f"<h3>{texts.APPROVE_TITLE}</h3>")
        name = _chooser(desk, texts.WHO_WAITS, "waiting")
        reason = text(texts.REFUSE_REASON, 300)
        with gr.Row():
            approve, refuse = gr.Button(texts.APPROVE, variant="primary"), gr.Button(texts.REFUSE)
        said = gr.HTML()
    desk.follow(group, lambda state, _: gr.update(visible=bool(state and state["to_approve"])))
    approve.click(lambda n: desk.act("/control/approve", {"name": n or ""}), name, said)
    refuse.click(lambda n, r: desk.act("/control/refuse", {"name": n or "", "reason": r}), [name, reason], said)


def _one(desk: PageContext) -> None:
    """One clinic: its record, and what can be done with it."""
    name = _chooser(desk, texts.CLINIC)
    record = gr.HTML()
    reason = text(texts.REASON, 300)
    with gr.Row():
        suspend, resume = gr.Button(texts.SUSPEND), gr.Button(texts.RESUME)
    with gr.Accordion(texts.RENAME_OR_REVOKE, open=False):
        with gr.Row(elem_classes="inline"):
            to = text(texts.NEW_NAME, 40, scale=3)
            rename = gr.Button(texts.RENAME, scale=1)
        with gr.Row(elem_classes="inline"):
            again = text(texts.REVOKE_SURE, 40, scale=3)
            revoke = gr.Button(texts.REVOKE, variant="stop", scale=1)
    said = gr.HTML()

    def show(clinic: str | None) -> str:
        return desk.look(f"/control/clinics/{quote(clinic, safe='')}", view.record) if clinic else ""

    def end(clinic: str | None, typed: str, why: str) -> str:
        if not clinic or clinic != typed:
            return trouble(texts.NOT_THE_SAME)
        return desk.act("/control/revoke", {"name": clinic, "reason": why})

    name.change(show, name, record)
    for button, does, takes in (
        (suspend, lambda n, r: desk.act("/control/suspend", {"name": n or "", "reason": r}), [name, reason]),
        (resume, lambda n: desk.act("/control/resume", {"name": n or ""}), [name]),
        (rename, lambda n, t: desk.act("/control/rename", {"name": n or "", "to": t}), [name, to]),
        (revoke, end, [name, again, reason]),
    ):
        button.click(does, takes, said).then(show, name, record, show_progress="hidden")


def _invite(desk: PageContext) -> None:
    gr.HTML(f"<p>{texts.INVITE_WORDS}</p>")
    with gr.Row():
        name = text(texts.NAME, 40, placeholder="lisbon")
        days = gr.Number(7, label=texts.DAYS, minimum=1, maximum=366, precision=0)
    make = gr.Button(texts.INVITE, variant="primary")
    said = gr.HTML()
    desk.follow(gr.HTML(), lambda state, _: view.invites(state))
    with gr.Row(elem_classes="inline"):
        taken = chooser(texts.OPEN_INVITE, scale=3)
        withdraw = gr.Button(texts.WITHDRAW, scale=1)
    desk.follow(taken, lambda state, _: gr.update(choices=view.open_invites(state)))

    def invite(clinic: str, good_for: float) -> str:
        try:
            found = desk.client.call("POST", "/control/invites", {"name": clinic.strip(), "days": good_for or 0})
        except UserError as exc:
            return trouble(exc)
        return view.invited(clinic.strip(), found)

    make.click(invite, [name, days], said)
    withdraw.click(lambda n: desk.act("/control/invites/withdraw", {"name": n or ""}), taken, said)


def _local(desk: PageContext) -> None:
    """Test clinics on this machine: started and stopped here in `make demo`, by a line for a terminal in containers."""
    if not desk.local.here:
        gr.HTML(view.compose_lines() if desk.settings.mode == "compose" else f"<p>{texts.NO_LOCAL}</p>")
        return
    listed = gr.HTML()
    name = chooser(texts.LOCAL_CLINIC)
    with gr.Row():
        start, stop = gr.Button(texts.LOCAL_START), gr.Button(texts.LOCAL_STOP)
    look = gr.Button(texts.LOOK_AGAIN, size="sm")
    said = gr.HTML()

    def states() -> tuple[Any, str]:
        try:
            found = desk.local.states()
        except UserError as exc:
            return gr.skip(), trouble(exc)
        return gr.update(choices=sorted(found)), view.local(found)

    def act(clinic: str | None, *, begin: bool) -> str:
        try:
            (desk.local.start if begin else desk.local.stop)(clinic or "")
        except UserError as exc:
            return trouble(exc)
        return done(texts.LOCAL_STARTED if begin else texts.LOCAL_STOPPED)

    # Whenever the list of clinics changes, also when the page is opened.
    desk.follow(listed, lambda state, problem: view.local(_local_states(desk)))
    desk.follow(name, lambda state, problem: gr.update(choices=sorted(_local_states(desk))))
    start.click(lambda n: act(n, begin=True), name, said).then(states, None, [name, listed], show_progress="hidden")
    stop.click(lambda n: act(n, begin=False), name, said).then(states, None, [name, listed], show_progress="hidden")
    look.click(states, None, [name, listed])


def _local_states(desk: PageContext) -> dict[str, str]:
    try:
        return desk.local.states()
    except UserError:  # said where it is asked for
        return {}
