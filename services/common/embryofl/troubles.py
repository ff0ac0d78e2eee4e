"""The kinds of trouble that users meet: cause and remedy by the code that an error ends with (troubles.toml)."""

import tomllib
from importlib import resources

from embryofl.errors import UserError


def read_troubles() -> tuple[dict[str, str], dict[str, str]]:
    """The areas' titles by letter; and, by code, each trouble's title, cause and remedy in Markdown."""
    table = tomllib.loads(resources.files("embryofl").joinpath("troubles.toml").read_text())
    areas = table.pop("areas")
    return areas, {
        code: f"**{trouble['title']}**\n\n{trouble['cause'].strip()}\n\n**Do:** {trouble['remedy'].strip()}\n"
        for code, trouble in table.items()
    }


def explain_code(code: str) -> str:
    """Title, cause and remedy of one trouble in Markdown.

    Raises
    ------
    UserError
        When there is no such code.
    """
    _, troubles = read_troubles()
    if code.upper() not in troubles:
        raise UserError("S7", f"There is no code {code}. Expected one that an error ends with, such as J2.")
    return troubles[code.upper()]
