"""The model zoo: names, facts and recipes, without PyTorch. `embryofl.models.zoo` makes the models."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class ModelFacts:
    """A model's table in `models.toml`, which explains the fields. `network`: torchvision's name; "" = our own."""

    words: str
    size: int
    recipe: Mapping[str, float]
    image_s: float = 0.0
    network: str = ""
    norm: str = ""


FACTS: Mapping[str, ModelFacts] = {
    name: ModelFacts(**table)
    for name, table in tomllib.loads(files(__name__).joinpath("models.toml").read_text()).items()
}
DEFAULT_MODEL = next(iter(FACTS))


def model_names() -> list[str]:
    """Names that `embryofl.models.zoo.create_model` takes, the default first."""
    return list(FACTS)


def has_norms(name: str) -> bool:
    """Whether a model has normalisation layers that are trained."""
    return not name.startswith("lite0") and not name.endswith("_frozen_bn")


def recipe(name: str) -> Mapping[str, float]:
    """Run settings that suit a model: image size in pixels, local epochs, learning rate, weight decay."""
    return FACTS.get(name, FACTS["resnet18"]).recipe
