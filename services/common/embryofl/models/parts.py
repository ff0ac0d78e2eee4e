"""Parts of a model by role: the tensors of its normalisation layers, and its head."""

from torch.nn import GroupNorm, LayerNorm, Module
from torch.nn.modules.batchnorm import _BatchNorm

HEADS = ("body.fc.", "body.classifier.", "head.")
"""How the names of the last linear layer's tensors begin, in every model of the zoo."""


def norm_tensors(model: Module) -> list[str]:
    """Names of the tensors of its normalisation layers, statistics included, in the order of the state dict."""
    layers = [n for n, m in model.named_modules() if isinstance(m, (_BatchNorm, GroupNorm, LayerNorm))]
    return [name for name in model.state_dict() if name.rpartition(".")[0] in layers]


def head_parameters(model: Module) -> list[str]:
    """Names of the parameters of its head."""
    return [name for name, _ in model.named_parameters() if name.startswith(HEADS)]
