"""Small pieces of HTML. Everything that comes from elsewhere is escaped here."""

from collections.abc import Sequence

from embryofl.states import label
from embryofl.texts import escape
from embryofl_console.texts import texts

e = escape


def p(text: object, kind: str = "") -> str:
    """A paragraph of text."""
    return f'<p class="{kind}">{e(text)}</p>' if kind else f"<p>{e(text)}</p>"


def trouble(text: object) -> str:
    """An error, announced by screen readers."""
    return f'<p class="trouble" role="alert">{e(text)}</p>'


def done(text: object = texts.page.done) -> str:
    """What was done."""
    return f'<p class="done" role="status">{e(text)}</p>'


def when(moment: float | None) -> str:
    """A moment (Unix time in seconds) that the browser writes in its own time zone."""
    return f'<time data-t="{float(moment):.0f}"></time>' if moment else "-"


def until(moment: float) -> str:
    """Time left, counted down in the browser."""
    return f'<span class="left" data-t="{float(moment):.0f}"></span>'


def dash(value: object) -> str:
    """A value, or a dash for None."""
    return "-" if value is None else e(value)


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", kind: str = "", *, headed: bool = False
) -> str:
    """A table that scrolls where it is too wide; cells are HTML, the first cell of a row is its head.

    `headed`: the caption stands right above it already, so only screen readers get it.
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


def mark(kind: dict[str, str], state: str) -> str:
    """A state's label (`embryofl.states`), with a sign of its own by the stored value."""
    return f'<span class="state {e(state)}">{e(label(kind, state))}</span>'


def to_copy(name: str, title: str, line: str) -> str:
    """A line for a terminal, with a button that copies it (console.js)."""
    copy, copied = texts.page.copy_line, texts.page.copied
    return (
        f'<div class="line"><span id="{e(name)}-label">{e(title)}</span>'
        f'<button type="button" data-copy="{e(name)}" data-copied="{e(copied)}">{e(copy)}</button>'
        f'<pre id="{e(name)}" tabindex="0" role="region" aria-labelledby="{e(name)}-label">{e(line)}</pre></div>'
    )


def counted(forms: tuple[str, str], n: int) -> str:
    """The singular, or the plural filled with `n`."""
    return forms[n != 1].format(n=n)


def meaning(value: str) -> str:
    """What labels mean, in words (HTML)."""
    return e(texts.meaning.get(value, value))


def whose(clinic: str) -> str:
    """A clinic's name, or that of all together."""
    return texts.common.all_clinics if clinic == "pooled" else clinic
