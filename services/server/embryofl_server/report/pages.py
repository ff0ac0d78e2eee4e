"""The model card as Markdown and as one HTML page that needs nothing else: it loads nothing and runs no script.

Every text is escaped; control and direction characters are replaced; the page's own policy forbids everything but its
style.
"""

import base64
import hashlib
import re
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from embryofl_server.report.charts import SIDE, charts


def html(card: dict[str, Any], results: dict[str, Any]) -> str:
    """The card as an HTML page."""
    style = _resource("card.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _render(
        "card.html.j2",
        autoescape=True,
        card=card,
        charts=charts(results),
        side=SIDE,
        style=Markup(style),  # noqa: S704  (our own file)
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
    )


def markdown(card: dict[str, Any]) -> str:
    """The card as Markdown."""
    text = _render("card.md.j2", autoescape=False, card=card)
    return re.sub(r"\n{3,}", "\n\n", text)


def _render(name: str, *, autoescape: bool, **values: Any) -> str:
    environment = Environment(
        autoescape=autoescape,  # noqa: S701  (Markdown has an escape of its own)
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=clean if autoescape else escape,
    )
    environment.filters |= {"figure": figure, "signed": signed, "percent": percent, "spread": spread}
    return environment.from_string(_resource(name)).render(**values)


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def clean(value: Any) -> Any:
    """Text without control or direction characters; anything else as it is."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value)


def escape(value: Any) -> Any:
    """Text in which nothing is Markdown or HTML any more, on one line."""
    if not isinstance(value, str):
        return value
    return re.sub(r"([\\`*_{}\[\]<>#|~&!])", r"\\\1", str(clean(value)))


def figure(value: dict[str, Any] | None, digits: int = 3) -> str:
    """`0.812 (0.74 to 0.88)`, or `-`."""
    if not value:
        return "-"
    text = f"{value['value']:.{digits}f}"
    interval = value.get("interval")
    return f"{text} ({interval[0]:.2f} to {interval[1]:.2f})" if interval else text


def signed(value: dict[str, Any] | None) -> str:
    """The same for figures that may be negative, with two decimals."""
    return figure(value, 2)


def spread(value: dict[str, Any] | None) -> str:
    """`0.812 ± 0.013 (0.801 to 0.826)` of several runs, or `-`."""
    if not value:
        return "-"
    return f"{value['mean']:.3f} ± {value['sd']:.3f} ({value['low']:.3f} to {value['high']:.3f})"


def percent(value: float | None) -> str:
    """`81 %`, or `-`."""
    return "-" if value is None else f"{100 * value:.0f} %"
