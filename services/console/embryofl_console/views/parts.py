"""Small pieces of HTML. Everything that comes from elsewhere is escaped here."""

import html
from collections.abc import Sequence

from embryofl_console import texts


def e(value: object) -> str:
    """Escaped, also within attributes and Gradio's templates."""
    return html.escape(str(value), quote=True).replace("$", "&#36;").replace("{", "&#123;").replace("}", "&#125;")


def p(words: object, kind: str = "") -> str:
    """A paragraph of text."""
    return f'<p class="{kind}">{e(words)}</p>' if kind else f"<p>{e(words)}</p>"


def trouble(words: object) -> str:
    """What went wrong, said aloud by screen readers."""
    return f'<p class="trouble" role="alert">{e(words)}</p>'


def done(words: object = texts.DONE) -> str:
    """What was done."""
    return f'<p class="done" role="status">{e(words)}</p>'


def when(moment: float | None) -> str:
    """A moment (Unix time in seconds) that the browser writes in its own time zone."""
    return f'<time data-t="{float(moment):.0f}"></time>' if moment else "-"


def until(moment: float) -> str:
    """Time left, counted down in the browser."""
    return f'<span class="left" data-t="{float(moment):.0f}"></span>'


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", kind: str = "", *, headed: bool = False
) -> str:
    """A table; cells are HTML. The first cell of a row is its head. It scrolls by itself where it is too wide.

    `headed`: the caption stands right above it already; it is told to screen readers only.
    """
    head = "".join(f'<th scope="col">{e(h)}</th>' for h in heads)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>' + "".join(f"<td>{c}</td>" for c in row[1:]) + "</tr>" for row in rows
    )
    # Outside the part that scrolls, so that it stays where it is.
    title = f'<p class="caption">{e(caption)}</p>' if caption and not headed else ""
    return (
        f'{title}<div class="scroll {kind}" tabindex="0" role="region" aria-label="{e(caption or heads[0])}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Names and values (HTML) as a list of definitions."""
    return '<dl class="facts">' + "".join(f"<div><dt>{e(k)}</dt><dd>{v}</dd></div>" for k, v in pairs) + "</dl>"


def mark(state: str) -> str:
    """A clinic's or run's state: a word with a sign of its own."""
    return f'<span class="state {e(state)}">{e(texts.STATES.get(state, state))}</span>'


def to_copy(name: str, label: str, line: str) -> str:
    """A line for a terminal, with a button that copies it (console.js)."""
    return (
        f'<div class="line"><span id="{e(name)}-label">{e(label)}</span>'
        f'<button type="button" data-copy="{e(name)}" data-copied="{e(texts.COPIED)}">{e(texts.COPY)}</button>'
        f'<pre id="{e(name)}" tabindex="0" role="region" aria-labelledby="{e(name)}-label">{e(line)}</pre></div>'
    )


def counted(words: tuple[str, str], n: int) -> str:
    """The words for one, or those for more."""
    return words[n != 1].format(n=n)


def seconds(value: float) -> str:
    """A length of time in words."""
    if value < 120:
        return texts.SECONDS.format(n=f"{value:.0f}" if value >= 9.5 else f"{value:.1f}")
    if value < 7200:
        return texts.MINUTES.format(n=f"{value / 60:.0f}")
    return texts.HOURS.format(n=f"{value / 3600:.1f}")


def size(value: float) -> str:
    """Bytes in words."""
    for unit, of in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= of:
            return f"{value / of:.3g} {unit}" if value < 1000 * of else f"{value / of:.0f} {unit}"
    return f"{value:.0f} B"
