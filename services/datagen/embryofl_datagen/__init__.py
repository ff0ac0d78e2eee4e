"""Synthetic IVF clinics with a known best possible score, and real images divided over clinics."""
