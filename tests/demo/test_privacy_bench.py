"""bench/privacy: its hub reads what a policy lets out and nothing else, and its decoders find what is there to find."""

import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from embryofl.masked_update import PATIENT_CLIP, noise_deviation, private_deviation
from embryofl.models.zoo import create_model
from embryofl.privacy.accountant import mu_of
from embryofl.secagg.fixed_point import RING, from_ring
from embryofl.secagg.noise import add_noise
from embryofl.secagg.threshold import threshold
from embryofl.settings import LARGEST_DELTA, PRIVATE, run_settings
from embryofl_data.dataset import ImageExamples
from kits.head_clinics import Clinic
from kits.label_attack import Aims
from kits.pictures import Population

ROOT = Path(__file__).parents[2]


@pytest.fixture
def privacy(monkeypatch):
    """The bench's modules."""
    monkeypatch.syspath_prepend(str(ROOT / "bench" / "privacy"))
    import attack
    import pictures

    yield attack, pictures
    for name in ("attack", "pictures", "readers", "updates"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(("metrics", "told"), [("own", True), ("pooled", True), ("none", False)])
def test_a_run_is_asked_for_everything_and_tells_what_the_policy_lets_out(privacy, tmp_path, metrics, told):
    attack, _ = privacy
    population = Population(0)
    policy = f'peers = "first"\nmetrics = "{metrics}"\nmax_evaluations = 2\n'
    clinics = [Clinic(name, tmp_path, policy, population, attack.RUN) for name in attack.NAMES]
    seen = attack.play(clinics, 0, Aims(population), clinics[0].pictures[0])
    again = attack.play(clinics, 1, Aims(population), clinics[0].pictures[1])
    assert [*map(len, seen)] == [*map(len, again)] and all(bool(part) == told for part in seen)


def test_worlds_share_no_embryo_between_clinics_and_attacker(privacy):
    _, pictures = privacy
    n = 600
    days = np.repeat([3, 5], n // 2)
    each = np.repeat(np.arange(n, dtype=np.float32)[:, None], 3, axis=1)
    world = pictures.World(SimpleNamespace(embeddings=each, labels=np.arange(n) % 2, days=days), (0, 0))
    parts = [world.train().pixels for _ in range(3)] + [world.validation().pixels for _ in range(3)]
    numbers = np.concatenate([*parts, world.public()[0], world.outside])[:, 0]
    assert sorted(numbers.tolist()) == list(range(n))


@pytest.mark.slow
def test_decoders_find_what_is_there_and_nothing_where_nothing_is(privacy):
    attack, _ = privacy
    coins = np.random.default_rng(0).integers(0, 2, 50).tolist()
    clear = [[float(c), 1.0] for c in coins], [[0.5, 0.0] for _ in coins]
    told = attack.Told([clear[0]] * attack.RUNS, [clear[1]] * attack.RUNS, coins)
    assert attack.results(told, 1) == attack.results(told, attack.RUNS) == ((1.0, 0.0), (1.0, 0.0))
    empty = [[[] for _ in coins]] * attack.RUNS
    assert [value for value, _ in attack.results(attack.Told(empty, empty, coins), 1)] == [0.5, 0.5]


def test_lite0_makes_of_a_picture_what_its_last_layer_makes_of_the_features(privacy):
    _, pictures = privacy
    model = create_model("lite0").eval()
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), np.uint8))
    with torch.inference_mode():
        model.head.weight.copy_(torch.linspace(-1, 1, 1280)[None])
        features = pictures.Lite0Features().embed(images)
        torch.testing.assert_close(model.head(features).squeeze(1), model(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("clinics", [3, 10])
def test_noise_of_a_mean_is_what_the_noise_of_clinics_adds_up_to(privacy, clinics):
    import updates

    floats, bound = 100_000, 2.0
    total = np.zeros(floats, RING)
    for number in range(clinics):
        add_noise(total, bytes([number] * 32), noise_deviation(1.0, threshold(clinics), floats))
    assert from_ring(total, 1.0, bound).std() == pytest.approx(updates.noise_of_mean(clinics, floats, bound), rel=0.02)


@pytest.mark.parametrize("clinics", [3, 10])
def test_noise_that_hides_a_patient_is_that_of_clinics_with_dp_epsilon(privacy, clinics):
    import updates

    rounds, epsilon = 15, 8.0
    run = run_settings({**PRIVATE, "dp_epsilon": epsilon, "rounds": rounds})
    embryos = SimpleNamespace(embeddings=np.zeros((3, 16), np.float32))
    federation = updates.PrivateFederation(embryos, run)
    bound, floats = run.learning_rate * PATIENT_CLIP, 100_000
    total, adders = np.zeros(floats, RING), threshold(clinics) - 1
    deviation = private_deviation(run, bound, 1 / (clinics * updates.EMBRYOS), adders, floats)
    for number in range(clinics):
        add_noise(total, bytes([number] * 32), deviation)
    expected = federation._unit(clinics, floats, bound) * math.sqrt(rounds) / mu_of(epsilon, LARGEST_DELTA)
    assert from_ring(total, 1.0, bound).std() == pytest.approx(expected, rel=0.02)


def test_coins_decide_labels_of_training_embryos_alone_and_none_is_twice(privacy):
    import updates

    days = np.repeat([3, 5], [417, 190])
    each = np.repeat(np.arange(len(days), dtype=np.float32)[:, None], 3, axis=1)
    embryos = SimpleNamespace(embeddings=each, labels=np.full(len(days), 7), days=days)
    for clinics in (3, 10):
        world = updates.TrainingWorld(embryos, clinics, 20, (0, 0))
        trained = np.concatenate(world.clinics)
        numbers = np.concatenate([trained, world.public()[0][:, 0]])
        assert sorted(numbers.tolist()) == list(range(len(days)))
        assert set(world.targets) <= set(trained) and not set(world.nobody) & set(trained)
        assert np.flatnonzero(world.labels != 7).tolist() == sorted(world.targets) and len(set(world.targets)) == 20


def test_readers_of_a_network_see_towards_which_picture_and_label_an_update_goes(privacy):
    import readers

    rng = np.random.default_rng(0)
    each = np.arange(30)
    images = ImageExamples(rng.integers(0, 256, (30, 32, 32, 3), np.uint8), each, each % 2, each, each, each)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(1), torch.nn.Flatten(0))
    image = torch.from_numpy(images.pixels[:1]).permute(0, 3, 1, 2)
    model = _Scaled(model)
    model(image)
    reader = readers.GradientReader(images, np.arange(3), np.arange(10, 30))
    reader.see(model)
    for label in (0.0, 1.0):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(image), torch.tensor([label]))
        step = torch.cat([-g.reshape(-1) for g in torch.autograd.grad(loss, [*model.parameters()])])
        seen = reader.read(step)  # (ways, pictures)
        assert len(seen) == 2 and (np.sign(seen[:, 0]) == (1 if label else -1)).all()
        assert (np.abs(seen[:, 0]) > 5 * np.abs(seen[:, 1:]).max(axis=1)).all()


class _Scaled(torch.nn.Module):
    """A model of images as they are stored."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model(images / 255 - 0.5)
