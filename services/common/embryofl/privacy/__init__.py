"""Differential privacy: what noise proves (`accountant`)."""
