"""The texts of model cards and warnings, from `texts.toml` and `tripod.toml`."""

import tomllib
from importlib import resources

from embryofl.texts import load_texts


def read(name: str) -> str:
    """The content of a file of this package."""
    return resources.files(__package__).joinpath(name).read_text("utf-8")


TEXTS = load_texts(__package__)
TRIPOD = [
    dict(zip(("item", "topic", "covered", "where"), item, strict=True))
    for item in tomllib.loads(read("tripod.toml"))["items"]
]
"""TRIPOD+AI items: number, what it asks for, `covered` ("card", "partly", "person"), where or what to add."""
