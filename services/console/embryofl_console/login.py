"""The page that asks for the password: plain HTML, no script."""

import html

from embryofl_console.texts import texts

CSS = """body { font: 1rem/1.5 system-ui, sans-serif; max-width: 24rem; margin: 4rem auto;
  padding: 0 1rem; color: #1b2733; }
input, button { font: inherit; width: 100%; box-sizing: border-box; padding: .6rem; margin: .3rem 0 1rem; }
button { background: #005a8c; color: #fff; border: 0; border-radius: .3rem; } .wrong { color: #9c3d00; }
"""


def page(error: str = "") -> str:
    """The page, with an error."""
    wrong = f'<p class="wrong" role="alert">{html.escape(error)}</p>' if error else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{texts.page.title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        '<link rel="stylesheet" href="/login.css">'
        f"</head><body><main><h1>{texts.page.title}</h1>{wrong}"
        f'<form method="post" action="/login"><label for="password">{texts.access.password}</label>'
        '<input id="password" name="password" type="password" autocomplete="current-password" required autofocus>'
        f"<button>{texts.access.log_in}</button></form><p>{texts.page.research}</p></main></body></html>"
    )
