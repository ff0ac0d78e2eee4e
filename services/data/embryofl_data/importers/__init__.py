"""Importers: other layouts into the data contract, with a stated rule for every label. The source is only read."""

from embryofl_data.importers.run import import_source

__all__ = ["import_source"]
