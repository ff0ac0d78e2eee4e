"""What a hub that only reads learns of one embryo's label from sums of updates under masks, and what noise would cost.

    python bench/privacy/updates.py [--data FOLDER] [--model lite0_head] [--clinics 3] [--rounds 15] [--worlds 10]
        [--targets 10] [--noise 0,0.01,0.1] [--fed-back 0,0.1] [--image-size 160] [--epsilon 8,3]

Clinics of 40 training embryos train honestly; a coin decides the labels of some that the hub has pictures of. It reads how
far each mean moves the model towards a picture (`readers.py`). Noise is that of a run's `update_noise`, added to the mean.
What it costs is the AUROC of the last model, on embryos of nobody. Training goes on with the noise of `--fed-back` in the
model (by default of all values); other values of `--noise` are read with as much noise in what a run without noise shows.
With `--epsilon`, clinics train as `dp_epsilon` has it, with the noise that three of them make under masks, and without.
"""

import argparse
import math
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tests"))

import numpy as np
import torch
from attack import FOLDS, common_options, decoded
from pictures import Embryos, part
from readers import GradientReader, HeadReader, Reader
from sklearn.metrics import roc_auc_score
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from embryofl import packing, task
from embryofl.masked_update import PATIENT_CLIP, noise_deviation, private_deviation, update_bound
from embryofl.messages import round_seed
from embryofl.models.zoo import create_model
from embryofl.privacy.accountant import mu_of
from embryofl.privacy.gradient import clipped_step
from embryofl.secagg.fixed_point import ONE
from embryofl.secagg.threshold import threshold
from embryofl.settings import LARGEST_DELTA, PRIVATE, RunSettings, run_settings
from embryofl_data.dataset import ImageExamples
from kits.pictures import EMBRYOS, Floats

DAY5 = 120
"""Embryos of day 5 over all clinics; the others are of day 3."""
NOISE = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Of `update_noise`, whose range is 0 to 1."""


class TrainingWorld:
    """Clinics with training embryos, and the attacker's own pictures; see `kits.pictures.Pictures`.

    Attributes
    ----------
    clinics : list of ndarray of int64, (EMBRYOS,)
    targets : ndarray of int64, (targets,)
        The pictures in question: of day 5, from all clinics in turn.
    nobody : ndarray of int64, (n,)
        Embryos of day 5 that no clinic has.
    labels : ndarray of int64
        Of all embryos, with coins for the pictures in question.
    """

    def __init__(self, embryos: Embryos, clinics: int, targets: int, seed: tuple[int, int]) -> None:
        self.rng, self._all = np.random.default_rng(seed), embryos
        three, five = (self.rng.permutation(np.flatnonzero(embryos.days == day)) for day in (3, 5))
        of_five = DAY5 // clinics
        of_three = EMBRYOS - of_five
        self.clinics = [
            np.concatenate(
                [five[k * of_five : (k + 1) * of_five], three[k * of_three : (k + 1) * of_three]]  # none twice
            )
            for k in range(clinics)
        ]
        self.targets = np.stack(self.clinics)[:, :of_five].T.reshape(-1)[:targets]
        self.nobody = five[clinics * of_five :]
        self._public = np.concatenate([self.nobody, three[clinics * of_three :]])
        self.labels = embryos.labels.copy()
        self.labels[self.targets] = self.rng.integers(0, 2, targets)

    def public(self) -> tuple[Floats, Floats]:
        """See `Pictures`."""
        labels = self._all.labels[self._public].astype(np.float64)
        return self._all.embeddings[self._public].astype(np.float64), labels - labels.mean()


def noise_of_mean(clinics: int, floats: int, bound: float) -> float:
    """Standard deviation of each number of the mean of so many clinics' updates, by their noise with ``update_noise=1``."""
    return noise_deviation(1.0, threshold(clinics), floats) * math.sqrt(clinics) * bound / ONE


class Federation:
    """Rounds of federated averaging over clinics of one size, with one sum of all.

    Attributes
    ----------
    noise_norms : list of float
        Of each round so far: the norm of noise with ``update_noise=1``, as a multiple of the mean's.
    """

    def __init__(self, embryos: Embryos, run: RunSettings) -> None:
        self._all, self._run = embryos, run
        self.model = create_model(run.model)
        self._layout = packing.layout_of(self.model.state_dict())
        self._start = self._weights()
        self.noise_norms: list[float] = []

    def _weights(self) -> torch.Tensor:
        return parameters_to_vector(self.model.parameters()).detach().clone()

    def _load(self, weights: torch.Tensor) -> None:
        vector_to_parameters(weights.clone(), self.model.parameters())  # training changes what it is given

    def train(
        self, world: TrainingWorld, readers: list[Reader], read_with: list[float], noise: float, seed: tuple[int, ...]
    ) -> Floats:
        """What the readers read of each mean, (ways, noises, rounds, targets); leaves the last model loaded.

        Parameters
        ----------
        world : TrainingWorld
        readers : list of Reader
        read_with : list of float
            Noise in what is read.
        noise : float
            Noise in the model.
        seed : tuple of int
            Of the noise.
        """
        rng, weights, seen, count = np.random.default_rng(seed), self._start, [], len(world.clinics)
        for round_ in range(1, self._run.rounds + 1):
            bound, mean = update_bound(self._run, round_, self._layout, math.inf), torch.zeros_like(weights)
            self._load(weights)
            for reader in readers:
                reader.see(self.model)
            for number, members in enumerate(world.clinics):
                data = part(self._all.inputs, members)
                data.labels[:] = world.labels[members]
                update = self._update(data, weights, round_, f"clinic-{number}")
                mean += update * min(1.0, bound / float(update.norm())) / count
            unit = torch.from_numpy(rng.standard_normal(len(mean), np.float32)) * self._unit(count, len(mean), bound)
            self.noise_norms.append(float(unit.norm() / mean.norm()))
            updates = [mean + how_much * unit for how_much in read_with]
            seen.append([np.concatenate([reader.read(u) for reader in readers]) for u in updates])
            weights = weights + mean + noise * unit
        self._load(weights)
        shape = self._run.rounds, len(read_with), sum(len(r.names) for r in readers), len(world.targets)
        return np.asarray(seen, np.float64).reshape(shape).transpose(2, 1, 0, 3)

    def _update(self, data: ImageExamples, weights: torch.Tensor, round_: int, clinic: str) -> torch.Tensor:
        """What a clinic makes of the model (floats,)."""
        self._load(weights)
        seed, scale = round_seed(0, round_, clinic), self._run.rate_scale(round_)
        task.train(self.model, data, self._run.training, seed=seed, learning_rate_scale=scale)
        return self._weights() - weights

    def _unit(self, clinics: int, floats: int, bound: float) -> float:
        """See `noise_of_mean`."""
        return noise_of_mean(clinics, floats, bound)

    def auroc(self, members: np.ndarray) -> float:
        """Of the loaded model."""
        return float(
            roc_auc_score(self._all.labels[members], task.predict(self.model, part(self._all.inputs, members)))
        )


class PrivateFederation(Federation):
    """The same of a run with `dp_epsilon`, where each embryo is of another patient. Noise is a multiple of what hides a
    patient with ``mu = 1`` in each round."""

    def _update(self, data: ImageExamples, weights: torch.Tensor, round_: int, clinic: str) -> torch.Tensor:
        features = np.asarray(data.pixels[data.rows], np.float32)
        step = clipped_step(weights.double().numpy(), features, data.labels, data.embryos, data.groups, PATIENT_CLIP)
        return torch.from_numpy(step * self._run.learning_rate).float()

    def _unit(self, clinics: int, floats: int, bound: float) -> float:
        patient = 1 / (clinics * EMBRYOS)
        each = private_deviation(self._run, bound, patient, threshold(clinics) - 1, floats) * self._run.private_mu
        return each * math.sqrt(clinics) * bound / ONE


def told(seen: Floats, coins: list[int], tries: np.ndarray) -> float:
    """How often the decoder tells the label, from readings of each round, (ways, rounds, tries), and their sum."""
    shapes = [np.vstack([values, values.sum(axis=0)]).T.tolist() for values in seen]
    if len(shapes) > 1:
        shapes.append([sum(parts, []) for parts in zip(*shapes, strict=True)])  # all ways together
    return float(((decoded(shapes, coins, tries) > 0.5) == np.asarray(coins)).mean())


def _numbers(text: str) -> list[float]:
    return [float(x) for x in text.split(",") if x]


def options() -> argparse.Namespace:
    """Those of the command line, checked."""
    parser = common_options(__doc__)
    parser.add_argument("--clinics", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--worlds", type=int, default=10)
    parser.add_argument("--targets", type=int, default=10, help="pictures in question of each world")
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--noise", type=_numbers, default=[*NOISE], help='"" to read nothing: AUROC alone')
    parser.add_argument("--fed-back", type=_numbers, default=None)
    parser.add_argument("--epsilon", type=_numbers, default=[], help="of `dp_epsilon`, in place of --model and --noise")
    chosen = parser.parse_args()
    if chosen.epsilon:
        chosen.model = str(PRIVATE["model"])
        chosen.noise = [0.0, *(math.sqrt(chosen.rounds) / mu_of(e, LARGEST_DELTA) for e in chosen.epsilon)]
    if chosen.worlds < FOLDS:
        parser.error(
            f"--worlds {chosen.worlds}: expected at least {FOLDS}, so that there are tries to fit a decoder on"
        )
    chosen.fed_back = chosen.noise if chosen.fed_back is None else chosen.fed_back
    return chosen


def main() -> None:
    """Print the table."""
    chosen = options()
    torch.set_num_threads(1)
    chosen.cache.mkdir(parents=True, exist_ok=True)
    embryos = Embryos(chosen.data, chosen.cache, chosen.model, chosen.image_size)
    values = {"model": chosen.model, "rounds": chosen.rounds, "image_size": chosen.image_size}
    run = run_settings(values | ({**PRIVATE, "dp_epsilon": chosen.epsilon[0]} if chosen.epsilon else {}))
    kind, column, called = Federation, "update_noise", {value: f"{value:g}" for value in chosen.noise}
    if chosen.epsilon:
        names = ["none", *(f"{e:g}" for e in chosen.epsilon)]
        kind, column, called = PrivateFederation, "dp_epsilon", dict(zip(chosen.noise, names, strict=True))
    tries = np.repeat(np.arange(chosen.worlds), chosen.targets)
    print(
        f"{chosen.model} of {chosen.image_size} pixels, {chosen.clinics} clinics, {len(tries)} tries, seed {chosen.seed}; "
        f"standard errors in brackets\n\n| {column} | times the mean's norm | label, one round | "
        f"label, {chosen.rounds} rounds | AUROC | less than without |\n|---|---|---|---|---|---|"
    )
    without: Floats = np.zeros(0)
    for noise in sorted({0.0, *chosen.fed_back}):
        read_with = [v for v in chosen.noise if v == noise or (noise == 0 and v not in chosen.fed_back)]
        federation, seen, coins, areas = kind(embryos, run), [], [], []
        for number in range(chosen.worlds):
            world = TrainingWorld(embryos, chosen.clinics, chosen.targets, (chosen.seed, number))
            readers: list[Reader] = [HeadReader(world, embryos.embeddings[world.targets])] if read_with else []
            if readers and chosen.model == "lite0":
                readers.append(GradientReader(embryos.inputs, world.targets, world.nobody))
            seen.append(federation.train(world, readers, read_with, noise, (chosen.seed, number, 1)))
            coins += world.labels[world.targets].tolist()
            areas.append(federation.auroc(world.nobody))
            print(f"noise {noise:g}: world {number + 1} of {chosen.worlds}", file=sys.stderr, flush=True)
        every = np.concatenate(seen, axis=3)  # (ways, noises, rounds, tries)
        without = np.asarray(areas) if noise == 0 else without
        area = f"{_mean(np.asarray(areas))} | {_mean(without - areas)}"
        for place, value in enumerate(read_with or [noise]):
            right = [told(every[:, place, :end], coins, tries) for end in (1, None) if read_with]
            cells = " | ".join(f"{x:.2f} ({math.sqrt(x * (1 - x) / len(tries)):.2f})" for x in right) or "not read | "
            times = f"{value * np.median(federation.noise_norms):.2g}"
            name, cost = called.get(value, f"{value:g}"), area if value == noise else "not fed back |"
            print(f"| {name} | {times} | {cells} | {cost} |", flush=True)
        for way, values in zip((name for reader in readers for name in reader.names), every, strict=True):
            both = " and ".join(f"{told(values[None, 0, :end], coins, tries):.2f}" for end in (1, None))
            print(f"{way} alone, noise {read_with[0]:g}: {both}", file=sys.stderr, flush=True)


def _mean(values: Floats) -> str:
    return f"{values.mean():.3f} ({values.std(ddof=1) / math.sqrt(len(values)):.3f})"


if __name__ == "__main__":
    main()
