"""What guesses of canaries prove in a run with `dp_epsilon`: with the noise of the stated epsilon and without.

    python bench/privacy/canaries.py [--canaries 50] [--epsilon 8] [--worlds 25]

Three clinics of 44 patients, one drawn embryo each, whose labels lie along one feature; 15 rounds of the product's private
step, canaries and guesses. Noise is drawn here, as much as all clinics' adds up to, from `--seed`.
"""

import argparse
import math
import sys
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parents[2]
for service in ("common", "data", "clinic"):  # they need not be installed
    sys.path.append(str(ROOT / "services" / service))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from embryofl.masked_update import PATIENT_CLIP  # noqa: E402
from embryofl.models.drawn import DRAWN, drawn_features  # noqa: E402
from embryofl.privacy.one_run import one_run_epsilon  # noqa: E402
from embryofl.settings import PRIVATE, RunSettings  # noqa: E402
from embryofl_clinic.privacy.canaries import Canaries  # noqa: E402
from embryofl_clinic.workload.embryo import EmbryoWorkload  # noqa: E402
from embryofl_data.dataset import ClinicData, ImageExamples  # noqa: E402

CLINICS, PATIENTS = 3, 44


class Clinic(EmbryoWorkload):
    """Patients and canaries, all of them drawn."""

    def __init__(self, settings: RunSettings, rng: np.random.Generator) -> None:
        count, each = settings.audit_canaries, np.arange(PATIENTS)
        features = drawn_features()[rng.choice(DRAWN, count + PATIENTS, replace=False)]
        self.canaries = Canaries(features[:count], rng.integers(0, 2, count), rng.random(count) < 0.5)
        pixels = features[count:]
        labels = (pixels[:, 0] + rng.normal(size=PATIENTS) > 0).astype(np.int64)
        train = ImageExamples(pixels, each, labels, np.full(PATIENTS, 5), each, each)
        self.data = ClinicData(None, 160, train, train, train)
        self._make_model(settings, "cpu", None)


def world(settings: RunSettings, rng: np.random.Generator, *, noisy: bool) -> tuple[int, int]:
    """Right and wrong guesses of all clinics after a run."""
    clinics = [Clinic(settings, rng) for _ in range(CLINICS)]
    weights = np.zeros(clinics[0].layout.floats)
    deviation = settings.learning_rate * PATIENT_CLIP / (CLINICS * PATIENTS) / settings.private_mu
    request = SimpleNamespace(settings=settings)
    for _ in range(settings.rounds):
        for clinic in clinics:
            head = clinic.model.head
            with torch.no_grad():
                head.weight.copy_(torch.tensor(weights[None, :-1]))
                head.bias.copy_(torch.tensor(weights[-1:]))
        steps = [clinic.private_step(request, clinic.canaries) for clinic in clinics]
        names = [tensor.name for tensor in clinics[0].layout.tensors]
        mean = np.mean(steps, axis=0)
        mean = np.append(mean[1:], mean[0]) if names[0] == "head.bias" else mean
        # Three clinics each add half of the noise's variance.
        weights += mean + noisy * deviation * math.sqrt(CLINICS / (CLINICS - 1)) * rng.normal(size=len(weights))
    guessed = [clinic.canaries.guessed(weights) for clinic in clinics]
    return sum(right for right, _ in guessed), sum(wrong for _, wrong in guessed)


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--canaries", type=int, default=50, help="at each clinic")
    options.add_argument("--epsilon", type=float, default=8)
    options.add_argument("--worlds", type=int, default=25)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    settings = RunSettings(**PRIVATE, dp_epsilon=chosen.epsilon, audit_canaries=chosen.canaries)
    print("| noise | right guesses | at least epsilon, mean of runs | largest |\n|---|---|---|---|")
    for noisy in (True, False):
        rng = np.random.default_rng(chosen.seed)
        guessed = [world(settings, rng, noisy=noisy) for _ in range(chosen.worlds)]
        all_of, rates = CLINICS * chosen.canaries, [right / (right + wrong) for right, wrong in guessed]
        proven = [one_run_epsilon(all_of, r + w, r, settings.dp_delta) for r, w in guessed]
        error = np.std(rates, ddof=1) / math.sqrt(len(rates))
        name = f"of epsilon {chosen.epsilon:g}" if noisy else "none"
        print(
            f"| {name} | {np.mean(rates):.2f} ({error:.2f}) | {np.mean(proven):.2f} | {max(proven):.2f} |", flush=True
        )


if __name__ == "__main__":
    main()
