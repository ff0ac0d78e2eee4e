"""Importers: other layouts into the data contract, with a stated rule for every label. The source is only read.

Needs the extra `report`. Start at `run`.
"""

from embryofl_data.importers.plan import Options
from embryofl_data.importers.run import import_source

__all__ = ["Options", "import_source"]
