"""The page Runs: choose, see the estimated cost, start; pause, resume, stop; compare runs."""

import functools
from typing import Any

import gradio as gr

from embryofl.errors import UserError
from embryofl.settings import RunSettings
from embryofl_console.form import LIMITS, PROTECTION, ROUNDS, Number, collected
from embryofl_console.pages.context import PageContext, State, choices, chooser, or_trouble, text
from embryofl_console.texts import texts
from embryofl_console.views import compare as compare_view
from embryofl_console.views import runs as view
from embryofl_console.views.parts import done, trouble

MOST_OWN = 3  # settings that a strategy has at most, each with a field of its own
MOST_COMPARED = 6
t = texts.runs
new = texts.new_run


def build(context: PageContext) -> None:
    """Build the page."""
    context.follow(gr.HTML(), lambda state, _: view.runs(state))
    _control(context)
    with gr.Accordion(new.title, open=True):
        _new(context)
    with gr.Accordion(texts.compare.title, open=False):
        _compare(context)


def _control(context: PageContext) -> None:
    """Shown only while a run is not over; the outcome of the last action stays."""
    with gr.Accordion(t.control, open=True, visible=False) as box:
        run = context.follow(chooser(texts.common.run, info=t.which_info), choices(view.not_over))
        with gr.Row():
            pause, resume = gr.Button(t.pause), gr.Button(t.resume)
        with gr.Row(elem_classes="inline"):
            sure = text(t.stop_sure, 10, scale=3)
            stop = gr.Button(t.stop, variant="stop", scale=1)
    outcome = gr.HTML()
    context.follow(box, lambda state, _: gr.update(visible=len(view.not_over(state)) > 1))
    pause.click(lambda r: context.act("pause", {"run": r or ""}, t.pausing), run, outcome)
    resume.click(lambda r: context.act("continue", {"run": r or ""}, t.resuming), run, outcome)

    def end(name: str | None, typed: str) -> str:
        if typed.strip().lower() != t.stop_word:
            return trouble(t.not_stopped)
        return context.act("stop", {"run": name or ""}, t.stopping)

    stop.click(end, [run, sure], outcome)


def _new(context: PageContext) -> None:
    """The form of a new run: what can be chosen, the estimated cost, and the start."""
    form = _Form(context)
    with gr.Row():
        model = gr.Dropdown([], label=texts.common.model, value=None)
        strategy = gr.Dropdown([], label=texts.common.strategy, value=None)
    about = gr.HTML()
    strategy_fields = [text("-", 20, visible=False) for _ in range(MOST_OWN)]
    numbers = _numbers()
    with gr.Accordion(new.more_title, open=False):
        more = text(new.more, 2000, lines=3, placeholder="learning_rate=0.0003\nschedule=constant")
        every = gr.HTML()
    cost = gr.HTML()
    with gr.Row():
        again, start = gr.Button(new.estimate), gr.Button(new.start, variant="primary")
    outcome = gr.HTML()
    fields = [model, strategy, *numbers, more, *strategy_fields]
    epochs = numbers[1]

    # Filled when the page is opened, or as soon as the hub responds.
    context.follow(model, lambda state, _: _choices(form.offers(), "models", state))
    context.follow(strategy, lambda state, _: _choices(form.offers(), "strategies", state))
    context.follow(every, lambda state, _: view.settings(form.offers()["defaults"] if state else {}))
    model.change(form.recipe, model, epochs, show_progress="hidden")
    gr.on(
        [model.change, strategy.change],
        form.chosen,
        [model, strategy],
        [about, *strategy_fields],
        show_progress="hidden",
    )
    changes = [field.change for field in (model, strategy, *numbers)]
    price = or_trouble(form.price)
    gr.on(changes, price, fields, cost, show_progress="hidden", trigger_mode="always_last")
    again.click(price, fields, cost)
    start.click(or_trouble(form.begin), fields, outcome)


def _numbers() -> list[gr.Number]:
    """The fields for numbers, in the order of `NUMBERS`, with a run's defaults."""
    usual = RunSettings().model_dump()
    deadline = usual["round_deadline_s"]
    usual |= {"min_clinics": 0, "round_deadline_s": 0 if deadline == "auto" else deadline / 60}

    def field(number: Number) -> gr.Number:
        name, label, info = number.setting, texts.setting[number.setting], texts.setting_info[number.setting]
        bounds = {"minimum": number.least, "maximum": number.most, "precision": 0 if number.integer else None}
        return gr.Number(usual[name], label=label, info=info, **bounds)

    with gr.Row():
        first = [field(number) for number in ROUNDS]
    with gr.Row():
        limits = [field(number) for number in LIMITS]
    with gr.Accordion(new.protection, open=False):
        gr.HTML(f"<p>{new.privacy}</p>")
        with gr.Row():
            protection = [field(number) for number in PROTECTION]
    return [*first, *limits, *protection]


class _Form:
    """What the form's fields do. `values` are all fields, as `collected` takes them."""

    def __init__(self, context: PageContext) -> None:
        self._context = context
        self._fetch = functools.cache(lambda: context.get("offers"))  # an error is not kept, so it is asked again

    def offers(self) -> State:
        """The hub's models, strategies and defaults; empty while it is unreachable, as the page says."""
        try:
            offers: State = self._fetch()
        except UserError:
            return {"models": [], "strategies": [], "defaults": {}}
        return offers

    def _offer(self, kind: str, name: str) -> State:
        """One model or strategy."""
        return next((x for x in self.offers()[kind] if x["name"] == name), {})

    def _post(self, path: str, values: tuple[Any, ...]) -> Any:
        settings = collected(self._offer("strategies", values[1] or ""), *values)
        return self._context.client.call("POST", f"/control/{path}", {"settings": settings})

    def price(self, *values: Any) -> str:
        """The estimated cost. Raises `UserError`."""
        return view.estimate(self._post("estimate", values)) if values[0] else ""

    def begin(self, *values: Any) -> str:
        """Start the run. Raises `UserError`."""
        return done(new.started.format(name=self._post("runs", values)["name"]))

    def chosen(self, model: str, strategy: str) -> list[Any]:
        """A description of the choice, and fields for the strategy's own settings."""
        offer = self._offer("strategies", strategy)
        settings = offer.get("settings", [])[:MOST_OWN]
        boxes = [gr.update(visible=True, label=s["name"], value=str(s["default"])) for s in settings]
        boxes += [gr.update(visible=False, label="-", value="")] * (MOST_OWN - len(settings))
        return [view.about(self._offer("models", model), offer), *boxes]

    def recipe(self, model: str) -> Any:
        """The local epochs that suit the model."""
        offer = self._offer("models", model)
        return gr.update(value=int(offer["recipe"]["local_epochs"])) if offer else gr.skip()


def _choices(offers: State, kind: str, state: State | None) -> Any:
    """A dropdown of what is offered, at the default."""
    names = [x["name"] for x in offers[kind]]
    if not names or state is None:
        return gr.skip()
    return gr.update(choices=names, value=offers["defaults"][{"models": "model", "strategies": "strategy"}[kind]])


def _compare(context: PageContext) -> None:
    label, info = texts.compare.runs, texts.compare.runs_info
    runs = gr.Dropdown([], label=label, multiselect=True, max_choices=MOST_COMPARED, info=info)
    context.follow(runs, choices(view.names))
    compared = gr.HTML()

    @or_trouble
    def show(names: list[str] | None) -> str:
        if not names or len(names) < 2:
            return ""
        return compare_view.compared([context.get("runs", name, "outline") for name in sorted(names)])

    runs.change(show, runs, compared)
