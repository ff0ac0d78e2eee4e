"""The texts of the kit."""

from embryofl.texts import load_texts

texts = load_texts(__package__)
