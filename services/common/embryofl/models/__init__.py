"""Models by name; see `create_model`. The names can be had without importing PyTorch."""

from embryofl.models.registry import create_model, model_names

__all__ = ["create_model", "model_names"]
