"""The clinic app's texts and those of scores, as in `texts.toml`."""

from embryofl.texts import load_texts

texts = load_texts(__package__)
