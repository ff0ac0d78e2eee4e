"""Models by name; see `create_model`. The names can be had without importing PyTorch."""

from embryofl.models.registry import DEFAULT_MODEL, create_model, has_norms, model_names, recipe

__all__ = ["DEFAULT_MODEL", "create_model", "has_norms", "model_names", "recipe"]
