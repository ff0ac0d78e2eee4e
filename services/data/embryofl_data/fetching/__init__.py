"""Public embryo data sets from their published addresses."""

from .run import fetch

__all__ = ["fetch"]
