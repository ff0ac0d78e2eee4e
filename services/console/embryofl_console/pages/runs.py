"""The page Training: choose, see what it will cost, start; pause, go on, stop; compare runs."""

from typing import Any
from urllib.parse import quote

import gradio as gr

from embryofl.errors import UserError
from embryofl.messages import RunSettings
from embryofl_console import texts
from embryofl_console.form import collected
from embryofl_console.pages.context import PageContext, State, chooser, text
from embryofl_console.views import compare as compare_view
from embryofl_console.views import runs as view
from embryofl_console.views.parts import done, trouble

OWN = 3  # settings that a strategy has at most, each with a field of its own
MOST_COMPARED = 6


def build(desk: PageContext) -> None:
    """Put the page together."""
    desk.follow(gr.HTML(), lambda state, _: view.runs(state))
    _steer(desk)
    with gr.Accordion(texts.NEW_RUN_TITLE, open=True):
        _new(desk)
    with gr.Accordion(texts.COMPARE_TITLE, open=False):
        _compare(desk)


class Offers:
    """What the server has; asked once, and again while the hub was away."""

    def __init__(self, desk: PageContext) -> None:
        self._desk = desk
        self._found: State = {"models": [], "strategies": [], "defaults": {}}

    def get(self) -> State:
        """The offers; without any when the hub is away."""
        if not self._found["models"]:
            try:
                self._found = self._desk.client.call("GET", "/control/offers")
            except UserError:  # the page says that the hub is away
                return self._found
        return self._found

    def one(self, kind: str, name: str) -> State:
        """One model or strategy."""
        return next((x for x in self.get()[kind] if x["name"] == name), {})


def _steer(desk: PageContext) -> None:
    """Only there while there is a run that is not over; what was done stays to be read."""
    with gr.Accordion(texts.STEER_TITLE, open=True, visible=False) as box:
        run = chooser(texts.WHICH_RUN, info=texts.WHICH_RUN_INFO)
        with gr.Row():
            pause, go_on = gr.Button(texts.PAUSE), gr.Button(texts.GO_ON)
        with gr.Row(elem_classes="inline"):
            sure = text(texts.STOP_SURE, 10, scale=3)
            stop = gr.Button(texts.STOP, variant="stop", scale=1)
    said = gr.HTML()
    desk.follow(box, lambda state, _: gr.update(visible=len(view.not_over(state)) > 1))
    desk.follow(run, lambda state, _: gr.update(choices=view.not_over(state)))
    pause.click(lambda r: desk.act("/control/pause", {"run": r or ""}, texts.PAUSING), run, said)
    go_on.click(lambda r: desk.act("/control/continue", {"run": r or ""}, texts.GOES_ON), run, said)

    def end(name: str | None, typed: str) -> str:
        if typed.strip().lower() != texts.STOP_WORD:
            return trouble(texts.NOT_STOPPED)
        return desk.act("/control/stop", {"run": name or ""}, texts.STOPPING)

    stop.click(end, [run, sure], said)


def _new(desk: PageContext) -> None:
    """The form of a new run: what there is to choose, what it will cost, and the start."""
    form = _Form(desk)
    with gr.Row():
        model = gr.Dropdown([], label=texts.MODEL, value=None)
        strategy = gr.Dropdown([], label=texts.STRATEGY, value=None)
    about = gr.HTML()
    own = [text("-", 20, visible=False) for _ in range(OWN)]
    numbers = _numbers()
    with gr.Accordion(texts.MORE_TITLE, open=False):
        more = text(texts.MORE, 2000, lines=3, placeholder="learning_rate=0.0003\nschedule=constant")
        every = gr.HTML()
    cost = gr.HTML()
    with gr.Row():
        again, start = gr.Button(texts.ESTIMATE), gr.Button(texts.START, variant="primary")
    said = gr.HTML()
    fields = [model, strategy, *numbers, more, *own]
    epochs = numbers[1]

    # Filled when the page is opened, or as soon as the hub is there.
    desk.follow(model, lambda state, _: _choices(form.offers.get(), "models", state))
    desk.follow(strategy, lambda state, _: _choices(form.offers.get(), "strategies", state))
    desk.follow(every, lambda state, _: view.settings(form.offers.get()["defaults"] if state else {}))
    model.change(form.recipe, model, epochs, show_progress="hidden")
    gr.on([model.change, strategy.change], form.chosen, [model, strategy], [about, *own], show_progress="hidden")
    changes = [field.change for field in (model, strategy, *numbers)]
    gr.on(changes, form.price, fields, cost, show_progress="hidden", trigger_mode="always_last")
    again.click(form.price, fields, cost)
    start.click(form.begin, fields, said)


def _numbers() -> list[gr.Number]:
    """The fields for numbers, in the order in which `collected` takes them."""
    usual = RunSettings()
    with gr.Row():
        rounds = gr.Number(
            usual.rounds, label=texts.ROUNDS, precision=0, minimum=1, maximum=10_000, info=texts.ROUNDS_INFO
        )
        epochs = gr.Number(
            usual.local_epochs, label=texts.EPOCHS, precision=0, minimum=1, maximum=100, info=texts.EPOCHS_INFO
        )
        seed = gr.Number(usual.seed, label=texts.SEED, precision=0, minimum=0, info=texts.SEED_INFO)
    with gr.Row():
        least = gr.Number(0, label=texts.LEAST, precision=0, minimum=0, maximum=1000, info=texts.LEAST_INFO)
        quorum = gr.Number(0, label=texts.QUORUM, minimum=0, maximum=1000, info=texts.QUORUM_INFO)
        minutes = 0 if usual.round_deadline_s == "auto" else usual.round_deadline_s / 60
        deadline = gr.Number(minutes, label=texts.DEADLINE_MIN, minimum=0, info=texts.DEADLINE_INFO)
    with gr.Accordion(texts.PRIVACY_TITLE, open=False):
        gr.HTML(f"<p>{texts.PRIVACY}</p>")
        with gr.Row():
            clip = gr.Number(usual.norm_clip, label=texts.CLIP, minimum=0, info=texts.CLIP_INFO)
            bound = gr.Number(usual.norm_bound, label=texts.BOUND, minimum=0, info=texts.BOUND_INFO)
            suspend = gr.Number(
                usual.suspend_after, label=texts.SUSPEND_AFTER, precision=0, minimum=0, info=texts.SUSPEND_AFTER_INFO
            )
    return [rounds, epochs, seed, least, quorum, deadline, clip, bound, suspend]


class _Form:
    """What the form's fields do. `values` are all fields, as `collected` takes them."""

    def __init__(self, desk: PageContext) -> None:
        self._desk, self.offers = desk, Offers(desk)

    def _ask(self, path: str, values: tuple[Any, ...]) -> Any:
        settings = collected(self.offers.one("strategies", values[1] or ""), *values)
        return self._desk.client.call("POST", path, {"settings": settings})

    def price(self, *values: Any) -> str:
        """What the run will cost."""
        try:
            return view.estimate(self._ask("/control/estimate", values)) if values[0] else ""
        except UserError as exc:
            return trouble(exc)

    def begin(self, *values: Any) -> str:
        """Start the run."""
        try:
            return done(texts.STARTED.format(name=self._ask("/control/runs", values)["name"]))
        except UserError as exc:
            return trouble(exc)

    def chosen(self, model: str, strategy: str) -> list[Any]:
        """The words for what is chosen, and fields for what the strategy can be set to."""
        found = self.offers.one("strategies", strategy)
        takes = found.get("settings", [])[:OWN]
        boxes = [gr.update(visible=True, label=t["name"], value=str(t["default"])) for t in takes]
        boxes += [gr.update(visible=False, label="-", value="")] * (OWN - len(takes))
        return [view.about(self.offers.one("models", model), found), *boxes]

    def recipe(self, model: str) -> Any:
        """The local epochs that suit the model."""
        found = self.offers.one("models", model)
        return gr.update(value=int(found["recipe"]["local_epochs"])) if found else gr.skip()


def _choices(offers: State, kind: str, state: State | None) -> Any:
    """A dropdown of what is offered, with what a run takes where nothing is said."""
    names = [x["name"] for x in offers[kind]]
    if not names or state is None:
        return gr.skip()
    return gr.update(choices=names, value=offers["defaults"][{"models": "model", "strategies": "strategy"}[kind]])


def _compare(desk: PageContext) -> None:
    names = gr.Dropdown([], label=texts.COMPARE, multiselect=True, max_choices=MOST_COMPARED, info=texts.COMPARE_INFO)
    desk.follow(
        names, lambda state, _: gr.update(choices=[r["name"] for r in reversed((state or {"runs": []})["runs"])])
    )
    found = gr.HTML()

    def show(wanted: list[str] | None) -> str:
        if not wanted or len(wanted) < 2:
            return ""
        try:
            outlines = [desk.client.call("GET", f"/control/runs/{quote(n, safe='')}/outline") for n in sorted(wanted)]
        except UserError as exc:
            return trouble(exc)
        return compare_view.compared(outlines)

    names.change(show, names, found)
