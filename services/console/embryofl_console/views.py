"""The hub's state as HTML. Everything that comes from elsewhere is escaped."""

import html
from typing import Any

from embryofl_console import texts

_BLUE = "#0072B2"  # Okabe and Ito's palette, for all kinds of colour vision
_WIDTH, _HEIGHT, _PAD = 640, 240, 36


def e(value: object) -> str:
    """Escaped, also within attributes and Gradio's templates."""
    return html.escape(str(value), quote=True).replace("$", "&#36;").replace("{", "&#123;").replace("}", "&#125;")


def when(moment: float) -> str:
    """A moment that the browser writes in its own time zone."""
    return f'<time data-t="{float(moment):.0f}"></time>' if moment else "-"


def until(moment: float) -> str:
    """Time left, counted down in the browser."""
    return f'<span class="left" data-t="{float(moment):.0f}"></span>'


def table(heads: tuple[str, ...], rows: list[list[str]]) -> str:
    """A table; cells are HTML."""
    head = "".join(f'<th scope="col">{e(h)}</th>' for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{e(heads[0])}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def next_step(state: dict[str, Any]) -> str:
    """The one thing to do next."""
    run, waiting = state["run"], state["progress"]["waiting"]
    if state["to_approve"]:
        return texts.APPROVE_NEXT.format(names=", ".join(state["to_approve"]))
    if not state["clinics"]:
        return texts.INVITE_NEXT
    if run and run["state"] == "failed":
        return texts.FAILED_NEXT
    if run and run["state"] in ("running", "waiting") and waiting:
        away = [n for n in waiting["for_"] if state["clinics"].get(n, {}).get("state") == "offline"]
        if away:
            return texts.TWO_NEXT.format(names=", ".join(away))
    paused = [*state["paused"], *([run["name"]] if run and run["state"] == "paused" else [])]
    return texts.RESUME_NEXT.format(names=", ".join(paused)) if paused else texts.ALL_WELL


def now(state: dict[str, Any] | None, trouble: str) -> str:
    """The page Now."""
    parts = [f'<p class="trouble" role="alert">{e(trouble)}</p>'] if trouble else []
    if state is None:
        return "".join([*parts, f"<p>{e(texts.LOADING)}</p>"])
    run, at = state["run"], state["progress"]
    parts.append(f'<p class="next"><strong>{e(next_step(state))}</strong></p>')
    if run is None:
        parts.append(f"<p>{e(texts.NO_RUN)}</p>")
    else:
        parts.append(
            f"<h2>{e(run['name'])}: {e(run['state'])}, round {e(at['round'] or run['round'])} of "
            f"{e(run['settings']['rounds'])}</h2>"
        )
        if run["reason"]:
            parts.append(f"<p>{e(run['reason'])}</p>")
        if run["state"] in ("running", "waiting"):
            parts.append(f"<p>{e(at['phase'])}" + (f", {until(at['deadline'])}" if at["deadline"] else "") + "</p>")
            parts.append(_waiting(at["waiting"]))
    parts += [table(texts.COLUMNS, [_clinic(n, c, state) for n, c in state["clinics"].items()]), curve(state["curve"])]
    return "".join(parts)


def _waiting(waiting: dict[str, Any] | None) -> str:
    if not waiting:
        return ""
    text = e(texts.WAITING.format(names=", ".join(waiting["for_"]) or texts.ITSELF))
    text += f" ({e(waiting['why'])})" if waiting["why"] else ""
    if waiting["until"]:
        text += f"; {until(waiting['until'])}: {e(waiting['then'])}"
    return f"<p>{text}</p>"


def _clinic(name: str, clinic: dict[str, Any], state: dict[str, Any]) -> list[str]:
    lines = state["run"]["metrics"] if state["run"] else []
    newest = [x for x in lines if x["clinic"] == name and x["split"] == "validation" and x["day"] is None]
    auroc = newest[-1]["auroc"] if newest else None
    mark = f'<span class="state {e(clinic["state"])}">{e(texts.STATES.get(clinic["state"], clinic["state"]))}</span>'
    figure = "-" if auroc is None else f"{auroc:.3f}"
    return [
        e(name),
        mark,
        e(clinic["labelled"] if clinic["labelled"] is not None else "-"),
        figure,
        e(clinic["detail"]),
    ]


def curve(points: list[list[Any]]) -> str:
    """The pooled AUROC by round as SVG, with the figures as text for who cannot see it."""
    found = [(p[1], p[2]) for p in points if p[0] == "pooled" and p[2] is not None]
    if len(found) < 2:
        return f"<p>{e(texts.NO_CURVE)}</p>"
    last = max(found[-1][0], 1)
    low = min(0.5, *(v for _, v in found))

    def place(round_: int, value: float) -> tuple[float, float]:
        x = _PAD + (_WIDTH - 2 * _PAD) * round_ / last
        return x, _HEIGHT - _PAD - (_HEIGHT - 2 * _PAD) * (value - low) / (1 - low)

    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*p) for p in found))
    said = f"{texts.CURVE}: " + ", ".join(f"{r}: {v:.3f}" for r, v in found[-5:])
    ticks = "".join(
        f'<line x1="{_PAD}" x2="{_WIDTH - _PAD}" y1="{place(0, v)[1]:.1f}" y2="{place(0, v)[1]:.1f}" stroke="#ccc"/>'
        f'<text x="2" y="{place(0, v)[1] + 4:.1f}" font-size="12">{v:.2f}</text>'
        for v in (low, (low + 1) / 2, 1.0)
    )
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{e(said)}">{ticks}'
        f'<polyline points="{line}" fill="none" stroke="{_BLUE}" stroke-width="2.5"/>'
        f'<text x="{_WIDTH - _PAD}" y="{_HEIGHT - 12}" font-size="12" text-anchor="end">{last}</text></svg>'
        f"<figcaption>{e(texts.CURVE)}</figcaption></figure>"
    )


def clinics(state: dict[str, Any] | None) -> str:
    """The list on the page Clinics."""
    if state is None:
        return ""
    rows = [
        [e(c["name"]), e(c["state"]) + (f": {e(c['reason'])}" if c["reason"] else ""),
         e("now") if c["online"] else when(c["last_seen"]), e(c["labelled"]), e(c["patients"]), e(c["meaning"]),
         f'<code>{e(c["key"])}</code>']
        for c in state["roster"]
    ]  # fmt: skip
    return table(texts.ROSTER, rows)


def runs(state: dict[str, Any] | None) -> str:
    """All runs, the newest first."""
    if state is None:
        return ""
    rows = [[e(r["name"]), e(r["state"]), e(r["round"]), e(r["reason"])] for r in reversed(state["runs"])]
    return table(texts.RUNS, rows)
