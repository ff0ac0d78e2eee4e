"""The coordinator's console."""
