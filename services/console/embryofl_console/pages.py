"""The pages, in Gradio."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from embryofl.errors import UserError
from embryofl_console import texts, views
from embryofl_console.hub import Follower, HubClient

TICK_S = 1.0


def build(client: HubClient, follower: Follower) -> gr.Blocks:
    """All pages."""

    def act(path: str, body: dict[str, Any]) -> str:
        try:
            client.call("POST", path, body)
        except UserError as exc:
            return views.e(exc)
        return texts.DONE

    with gr.Blocks(title=texts.TITLE, analytics_enabled=False) as blocks:
        gr.HTML(f"<h1>{texts.TITLE}</h1><p>{texts.RESEARCH} <a href='/logout'>{texts.LOG_OUT}</a></p>")
        seen = gr.State(-1)
        with gr.Tab(texts.NOW):
            now = gr.HTML(texts.LOADING)
        with gr.Tab(texts.CLINICS):
            clinics = gr.HTML()
            _clinics_page(client, act)
        with gr.Tab(texts.TRAINING):
            runs = gr.HTML()
            models, strategies = _training_page(act)

        def tick(before: int) -> Any:
            version, state, trouble = follower.now()
            if version == before:
                return [gr.skip()] * 6
            offers = state["offers"] if state else {"models": [], "strategies": []}
            return [version, views.now(state, trouble), views.clinics(state), views.runs(state),
                    gr.update(choices=offers["models"]), gr.update(choices=offers["strategies"])]  # fmt: skip

        out: list[Any] = [seen, now, clinics, runs, models, strategies]
        timer = gr.Timer(TICK_S)
        timer.tick(tick, seen, out, show_progress="hidden", queue=False)
        blocks.load(tick, seen, out, show_progress="hidden", queue=False)
    return blocks


Act = Callable[[str, dict[str, Any]], str]


def _clinics_page(client: HubClient, act: Act) -> None:
    name, reason = gr.Textbox(label=texts.NAME, max_length=40), gr.Textbox(label=texts.REASON, max_length=300)
    with gr.Row():
        invite, approve = gr.Button(texts.INVITE), gr.Button(texts.APPROVE)
        suspend, resume = gr.Button(texts.SUSPEND), gr.Button(texts.RESUME)
    again = gr.Textbox(label=texts.REVOKE_SURE, max_length=40)
    revoke = gr.Button(texts.REVOKE, variant="stop")
    said = gr.HTML()
    word = gr.Textbox(label=texts.SEND, interactive=False, lines=4)

    def make(clinic: str) -> tuple[str, str]:
        try:
            found = client.call("POST", "/control/invites", {"name": clinic})
        except UserError as exc:
            return "", views.e(exc)
        line = (
            "docker run -d --name embryofl --restart unless-stopped -v /PATH/TO/IMAGES:/data:ro "
            f"-v embryofl-state:/state -e EMBRYOFL_INVITE={found['invite']} embryofl-clinic"
        )
        return line, texts.DONE

    def end(clinic: str, typed: str, why: str) -> str:
        if not clinic or clinic != typed:
            return texts.NOT_THE_SAME
        return act("/control/revoke", {"name": clinic, "reason": why})

    invite.click(make, name, [word, said])
    approve.click(lambda n: act("/control/approve", {"name": n}), name, said)
    suspend.click(lambda n, r: act("/control/suspend", {"name": n, "reason": r}), [name, reason], said)
    resume.click(lambda n: act("/control/resume", {"name": n}), name, said)
    revoke.click(end, [name, again, reason], said)


def _training_page(act: Act) -> tuple[gr.Dropdown, gr.Dropdown]:
    models = gr.Dropdown(["lite0"], value="lite0", label=texts.MODEL)
    strategies = gr.Dropdown(["fedavg"], value="fedavg", label=texts.STRATEGY)
    rounds = gr.Number(10, label=texts.ROUNDS, precision=0, minimum=1, maximum=10_000)
    start = gr.Button(texts.START, variant="primary")
    with gr.Row():
        pause, go_on = gr.Button(texts.PAUSE), gr.Button(texts.GO_ON)
    sure = gr.Textbox(label=texts.STOP_SURE, max_length=10)
    stop, said = gr.Button(texts.STOP, variant="stop"), gr.HTML()

    def begin(model: str, strategy: str, count: float) -> str:
        return act("/control/runs", {"settings": {"model": model, "strategy": strategy, "rounds": int(count)}})

    start.click(begin, [models, strategies, rounds], said)
    pause.click(lambda: act("/control/pause", {}), None, said)
    go_on.click(lambda: act("/control/continue", {}), None, said)
    stop.click(lambda s: act("/control/stop", {}) if s == "stop" else texts.NOT_STOPPED, sure, said)
    return models, strategies
