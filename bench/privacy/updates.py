"""What a hub that only reads learns of one embryo's label from the mean of updates under masks, and what noise would cost.

    python bench/privacy/updates.py [--data FOLDER] [--model lite0_head] [--clinics 3] [--rounds 15] [--worlds 10]

Clinics of 40 training embryos train honestly; a coin decides the labels of ten that the hub has pictures of. It reads how
far each mean moves the last layer towards a picture. The noise is simulated: Gaussian, on the mean, of so many times its
norm (a run's `update_noise` is a multiple of the bound instead). What it costs is the AUROC of the last model, on embryos
of nobody.
"""

import math
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tests"))

import numpy as np
import torch
from attack import common_options, decoded
from pictures import TARGETS, Embryos, part
from sklearn.metrics import roc_auc_score
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from embryofl import task
from embryofl.messages import round_seed
from embryofl.models.zoo import create_model
from embryofl.settings import TrainSettings, run_settings
from kits.label_attack import EMBRYOS, Aims, Floats

DAY5 = 120
"""Embryos of day 5 over all clinics; the others are of day 3."""
NOISE = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)


class TrainingWorld:
    """Clinics with training embryos, and the attacker's own pictures; see `kits.label_attack.Pictures`.

    Attributes
    ----------
    clinics : list of ndarray of int64, (EMBRYOS,)
        The pictures in question are the first `TARGETS` of the first clinic; they are of day 5.
    """

    def __init__(self, embryos: Embryos, clinics: int, seed: tuple[int, int]) -> None:
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
        self.nobody = five[clinics * of_five :]
        self._public = np.concatenate([self.nobody, three[clinics * of_three :]])

    def public(self) -> tuple[Floats, Floats]:
        """See `Pictures`."""
        labels = self._all.labels[self._public].astype(np.float64)
        return self._all.embeddings[self._public].astype(np.float64), labels - labels.mean()


class Federation:
    """Rounds of federated averaging over clinics of one size."""

    def __init__(self, embryos: Embryos, model: str, settings: TrainSettings, rounds: int) -> None:
        self._all, self._settings, self._rounds = embryos, settings, rounds
        self._model = create_model(model)
        self._start = self._weights()

    def _weights(self) -> torch.Tensor:
        return parameters_to_vector(self._model.parameters()).detach().clone()

    def train(self, world: TrainingWorld, labels: np.ndarray, noise: float, rng: np.random.Generator) -> Floats:
        """The last layer's part of the mean update of each round, (rounds, 1280); leaves the last model loaded."""
        weights, seen = self._start, []
        for round_ in range(1, self._rounds + 1):
            mean = torch.zeros_like(weights)
            for number, members in enumerate(world.clinics):
                vector_to_parameters(weights.clone(), self._model.parameters())  # training changes what it is given
                data = part(self._all.inputs, members)
                data.labels[:] = labels[members]
                task.train(self._model, data, self._settings, seed=round_seed(0, round_, f"clinic-{number}"))
                mean += (self._weights() - weights) / len(world.clinics)
            if noise:
                scale = noise * float(mean.norm()) / math.sqrt(len(mean))
                mean += scale * torch.from_numpy(rng.standard_normal(len(mean), np.float32))
            weights = weights + mean
            seen.append(mean[-1281:-1].double().numpy())
        vector_to_parameters(weights, self._model.parameters())
        return np.stack(seen)

    def auroc(self, members: np.ndarray) -> float:
        """Of the loaded model."""
        return float(
            roc_auc_score(self._all.labels[members], task.predict(self._model, part(self._all.inputs, members)))
        )


def main() -> None:
    """Print the table."""
    options = common_options(__doc__)
    options.add_argument("--clinics", type=int, default=3)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--worlds", type=int, default=10)
    options.add_argument("--noise", type=lambda text: [float(x) for x in text.split(",")], default=NOISE)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    chosen.cache.mkdir(parents=True, exist_ok=True)
    embryos = Embryos(chosen.data, chosen.cache, chosen.model)
    settings = run_settings({"model": chosen.model}).training
    federation = Federation(embryos, chosen.model, settings, chosen.rounds)
    worlds = [TrainingWorld(embryos, chosen.clinics, (chosen.seed, number)) for number in range(chosen.worlds)]
    tries = np.arange(chosen.worlds * TARGETS) // TARGETS
    print(
        f"{chosen.model}, {chosen.clinics} clinics, {len(tries)} tries, seed {chosen.seed}; standard errors in brackets\n"
    )
    print(f"| noise, simulated | label, one round | label, {chosen.rounds} rounds | AUROC |\n|---|---|---|---|")
    for noise in chosen.noise:
        first, every, coins, areas = [], [], [], []
        for number, world in enumerate(worlds):
            rng = np.random.default_rng((chosen.seed, number, 1))
            aims, targets, labels = Aims(world), world.clinics[0][:TARGETS], embryos.labels.copy()
            labels[targets] = rng.integers(0, 2, TARGETS)
            directions = np.stack([aims.head("alone", e)[0] for e in embryos.embeddings[targets].astype(np.float64)])
            towards = federation.train(world, labels, noise, rng) @ directions.T  # (rounds, targets)
            first += [[value] for value in towards[0]]
            every += [[*values, values.sum()] for values in towards.T]
            coins += labels[targets].tolist()
            areas.append(federation.auroc(world.nobody))
        right = [float(((decoded([seen], coins, tries) > 0.5) == np.asarray(coins)).mean()) for seen in (first, every)]
        cells = " | ".join(f"{x:.2f} ({math.sqrt(x * (1 - x) / len(tries)):.2f})" for x in right)
        error = np.std(areas, ddof=1) / math.sqrt(len(areas))
        print(f"| {noise:g} | {cells} | {np.mean(areas):.3f} ({error:.3f}) |", flush=True)


if __name__ == "__main__":
    main()
