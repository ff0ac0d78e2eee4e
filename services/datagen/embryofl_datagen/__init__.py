"""Synthetic IVF clinics with a known best possible score, and real images divided over clinics."""

__version__ = "0.1.0"
