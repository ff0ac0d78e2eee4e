"""Public embryo data sets from their published addresses."""

from embryofl_data.fetching.run import fetch

__all__ = ["fetch"]
