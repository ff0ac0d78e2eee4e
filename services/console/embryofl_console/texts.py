"""The console's texts, as in `texts.toml`."""

from embryofl.texts import load_texts

texts = load_texts(__package__)
