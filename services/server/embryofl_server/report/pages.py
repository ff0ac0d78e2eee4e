"""The model card as Markdown and as one self-contained HTML page that loads nothing and runs no script.

Every text is escaped, and control and direction characters are replaced. The page's content policy forbids everything but
its own style.
"""

import base64
import functools
import hashlib
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from embryofl.result_charts import by_round, margin, of_results
from embryofl_server.report.numbers import clinic_label, day_label, metric, number, signed, spread


def html(card: dict[str, Any], results: dict[str, Any], paper: dict[str, Any] | None = None) -> str:
    """The card as an HTML page; with `paper` (`methods`, `flow`, `references`) as the run's report."""
    charts = Markup(_charts(results))  # noqa: S704  (its texts are escaped)
    return page("card.html.j2", card=card, charts=charts, paper=paper)


def page(template: str, **shown: Any) -> str:
    """A page of its own from a template, with the card's style and a policy that forbids all else."""
    style = Path(__file__).with_name("card.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _template(template, autoescape=True).render(
        style=Markup(style),  # noqa: S704  (our own file)
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        **shown,
    )


def _charts(results: dict[str, Any]) -> str:
    """Of all clinics: the charts of all days' test patients, and AUROC over the rounds."""
    rounds = [(r["round"], r["pooled"]) for r in results["rounds"] if r["pooled"]["auroc"] is not None]
    points = [(number, pooled["auroc"], margin(pooled)) for number, pooled in rounds]
    return of_results(results["splits"]["test"]["pooled"]["all"]) + by_round("auroc", {clinic_label("pooled"): points})


def markdown(card: dict[str, Any]) -> str:
    """The card as Markdown."""
    text = _template("card.md.j2", autoescape=False).render(card=card)
    return re.sub(r"\n{3,}", "\n\n", text)


@functools.cache
def _template(name: str, *, autoescape: bool) -> Template:
    """A template, compiled once: that takes longer than all the rest of a card."""
    environment = Environment(
        autoescape=autoescape,  # noqa: S701  (Markdown has an escape of its own)
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=clean if autoescape else escape,
    )
    environment.filters |= {f.__name__: f for f in (clinic_label, day_label, metric, number, signed, spread)}
    return environment.from_string(Path(__file__).with_name(name).read_text("utf-8"))


def clean(value: Any) -> Any:
    """Text without control or direction characters; other values unchanged."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value)


def escape(value: Any) -> Any:
    """Text escaped for Markdown and HTML, on one line."""
    if not isinstance(value, str):
        return value
    return re.sub(r"([\\`*_{}\[\]<>#|~&!])", r"\\\1", str(clean(value)))
