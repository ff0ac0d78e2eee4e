"""What a person is told of a model before it is chosen: in a line of words, what travels, and what training costs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelFacts:
    """`size`: bytes of the packed weights without pretrained files or a head for grades. `image_s`: seconds to train on one
    image of the recipe's size on one processor core, a rough figure (docs/architecture.md; 0: not measured)."""

    words: str
    size: int
    image_s: float = 0.0


FACTS = {
    "lite0": ModelFacts(
        "EfficientNet-Lite0, pretrained on ImageNet, trained from its sixth layer on. The default.", 13_195_604, 0.024
    ),
    "lite0_head": ModelFacts(
        "The same network kept as it is, with a small head that alone is trained: quick, and next to nothing travels.",
        5_276,
        0.012,
    ),
    "lite0_last": ModelFacts("The same network, of which the last block is trained.", 4_060_820, 0.011),
    "lite0_full": ModelFacts("The same network, all of it trained.", 13_414_524, 0.032),
    "small_cnn": ModelFacts("A small network trained from nothing.", 1_959_588, 0.012),
    "resnet18": ModelFacts("ResNet-18 with group normalisation, trained from nothing.", 44_713_844),
    "resnet18_frozen_bn": ModelFacts(
        "ResNet-18 for pretrained weights, whose normalisation stays as it is.", 44_756_092
    ),
    "efficientnet_b0": ModelFacts("EfficientNet-B0 with group normalisation, trained from nothing.", 16_056_812),
    "efficientnet_b0_frozen_bn": ModelFacts(
        "EfficientNet-B0 for pretrained weights, whose normalisation stays as it is.", 16_235_076
    ),
    "convnext_tiny": ModelFacts("ConvNeXt-Tiny: large, and slow without a GPU.", 111_301_556),
}
"""By name. `tests/common/test_models.py` compares the sizes with the models."""
