"""Importers: other layouts into the data contract, with a stated rule for every label. The source is only read.

Needs the extra `report`. Start at `run`.
"""
