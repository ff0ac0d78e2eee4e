"""What a clinic reads of its own training embryos in the update that it has sent: labels, and pictures.

    python bench/privacy/own_update.py [--data FOLDER] [--only labels,pictures] [--worlds 10] [--targets 10] [--steps 100]

Labels: the first round of `lite0_head` at a clinic of 40 embryos, of which coins decide `--targets` labels of day 5. The
guess is the sign of the update along the picture's features. Pictures: `small_cnn` with the weights that a run begins with,
images of 64 pixels. Of a gradient, images are sought that would give one in the same direction: gradient inversion by
cosine distance and total variation (Geiping and others, "Inverting Gradients", NeurIPS 2020; as in `breaching`). The labels
are given. A picture is told if what was found is more like it than like 19 others of its day; 0.05 is chance.
"""

import math
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tests"))

import numpy as np
import torch
from attack import common_options
from pictures import Embryos, part
from readers import HeadReader
from torch import Tensor, nn
from torch.nn import functional as nnf
from torch.nn.utils import parameters_to_vector
from updates import Federation, TrainingWorld

from embryofl import task
from embryofl.models.zoo import create_model
from embryofl.settings import run_settings
from embryofl.transforms import augment
from embryofl_data.cache import open_cache
from embryofl_data.dataset import ImageExamples, image_examples
from embryofl_data.reading.layouts import read_folder

SIDE, BATCH, SUSPECTS = 64, 8, 20
SMOOTH = 1e-2  # the weight of total variation
RATE = 0.05


def labels_told(embryos: Embryos, worlds: int, targets: int, seed: int) -> list[bool]:
    """Whether each guess is right."""
    right, federation = [], Federation(embryos, run_settings({"model": "lite0_head"}))
    for number in range(worlds):
        world = TrainingWorld(embryos, 3, 3 * targets, (seed, number))
        chosen, members = world.targets[::3], world.clinics[0]
        data = part(embryos.inputs, members)
        data.labels[:] = world.labels[members]
        start = federation._weights()
        update = federation._update(data, start, 1, "clinic-0")
        federation._load(start)
        read = HeadReader(world, embryos.embeddings[chosen]).read(update)[0]
        right += ((read > 0) == (world.labels[chosen] == 1)).tolist()
    return right


def gradient(model: nn.Module, images: Tensor, labels: Tensor, *, further: bool = False) -> Tensor:
    """Of the mean loss, by all parameters: (floats,)."""
    loss = nnf.binary_cross_entropy_with_logits(model(images), labels)
    parts = torch.autograd.grad(loss, list(model.parameters()), create_graph=further)
    return torch.cat([each.reshape(-1) for each in parts])


def inverted(model: nn.Module, seen: Tensor, labels: Tensor, steps: int) -> Tensor:
    """Images that would give a gradient in that direction, (n, 3, s, s)."""
    images = torch.rand(len(labels), 3, SIDE, SIDE).requires_grad_()
    optimiser = torch.optim.Adam([images], RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        distance = 1 - nnf.cosine_similarity(gradient(model, images, labels, further=True), seen, dim=0)
        variation = images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean()
        (distance + SMOOTH * variation).backward()
        images.grad = images.grad.sign()
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            images.clamp_(0, 1)
    return images.detach()


def likeness(found: Tensor, pictures: Tensor) -> Tensor:
    """Correlations of grey pixels, (found, pictures)."""
    one, other = (nnf.normalize((x.mean(1).flatten(1) - x.mean((1, 2, 3))[:, None]), dim=1) for x in (found, pictures))
    return one @ other.T


def batches(pixels: np.ndarray, rng: np.random.Generator, size: int, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pictures of a batch, and of suspects that are not in it, (n, 3, s, s) each, in [0, 1]."""
    for _ in range(count):
        order = rng.permutation(len(pixels))[: size + SUSPECTS - 1]
        chosen = torch.from_numpy(pixels[order]).permute(0, 3, 1, 2).float() / 255
        yield chosen[:size], chosen[size:]


def pictures_told(pixels: np.ndarray, way: str, tries: int, steps: int, seed: int) -> list[bool]:
    """Whether each picture is told, in one way of `WAYS`."""
    told, rng = [], np.random.default_rng(seed)
    size = 1 if way == "one" else BATCH
    for number, (batch, others) in enumerate(batches(pixels, rng, size, math.ceil(tries / size))):
        torch.manual_seed(number)
        model = create_model("small_cnn")
        model.eval()
        coins = torch.from_numpy(rng.integers(0, 2, size)).float()
        if way == "update":
            seen = whole_round(model, batch, coins, number)
        elif way == "training":
            generator = torch.Generator().manual_seed(number)
            batch, others = augment(batch, generator), augment(others, generator)  # told as training saw it
            model.train()
            seen = gradient(model, batch, coins)
            model.eval()
        else:
            seen = gradient(model, batch, coins)
        found = inverted(model, seen, coins, steps)
        of_others = likeness(found, others).amax(dim=0).max()
        told += (likeness(found, batch).amax(dim=0) > of_others).tolist()
    return told


def whole_round(model: nn.Module, batch: Tensor, labels: Tensor, seed: int) -> Tensor:
    """Minus what a whole round of training makes of the model on these embryos alone; the model stays as it was."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    start, each = parameters_to_vector(model.parameters()).detach().clone(), np.arange(len(batch))
    images = (batch.permute(0, 2, 3, 1) * 255).round().byte().numpy()
    data = ImageExamples(images, each, labels.long().numpy(), np.full(len(batch), 5), each, each)
    task.train(model, data, run_settings({"model": "small_cnn"}).training, seed=seed)
    moved = parameters_to_vector(model.parameters()).detach() - start
    model.load_state_dict(before)
    model.eval()
    return -moved


WAYS = {
    "one": "the gradient of one embryo, upright, without dropout",
    "batch": f"the gradient of a batch of {BATCH}, upright, without dropout",
    "training": f"the gradient of the first batch of {BATCH} as training makes it (positions and dropout at random)",
    "update": f"the update of a whole round on {BATCH} embryos",
}


def main() -> None:
    """Print the table."""
    options = common_options(__doc__)
    options.add_argument("--only", default="labels,pictures")
    options.add_argument("--worlds", type=int, default=10)
    options.add_argument("--targets", type=int, default=10, help="labels of each world")
    options.add_argument("--tries", type=int, default=8, help="pictures of each way")
    options.add_argument("--steps", type=int, default=100)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    print("| from | told |\n|---|---|")

    def show(what: str, told: list[bool]) -> None:
        rate = float(np.mean(told))
        error = math.sqrt(rate * (1 - rate) / len(told))
        print(f"| {what} | {rate:.2f} ({error:.2f}), {sum(told)} of {len(told)} |", flush=True)

    if "labels" in chosen.only:
        embryos = Embryos(chosen.data, chosen.cache, "lite0_head")
        told = labels_told(embryos, chosen.worlds, chosen.targets, chosen.seed)
        show("label of a training embryo, `lite0_head`, the clinic's own first update", told)
    if "pictures" in chosen.only:
        images = [image for image in read_folder(chosen.data).images if image.label is not None and image.day == 5]
        examples = image_examples(open_cache(chosen.data, [i.file for i in images], chosen.cache, SIDE), images)
        pixels = examples.pixels[examples.rows]
        for way, words in WAYS.items():
            show(f"picture, `small_cnn`, {words}", pictures_told(pixels, way, chosen.tries, chosen.steps, chosen.seed))


if __name__ == "__main__":
    main()
