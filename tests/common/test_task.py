"""Training is repeatable and learns; evaluation gives sums; neither has side effects."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from embryofl import task
from embryofl.errors import UserError
from embryofl.models.zoo import create_model
from embryofl.settings import TrainSettings
from embryofl.task import class_weights, evaluate, predict, train

pytestmark = pytest.mark.integration

FAST = TrainSettings(local_epochs=1, batch_size=16)


@dataclass(frozen=True)
class Drawn:
    """Stands in for embryofl_data's Examples: the same fields, with drawn images."""

    pixels: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    days: npt.NDArray[np.int64]
    embryos: npt.NDArray[np.int64]
    cohorts: npt.NDArray[np.int64] | None = None


def draw(n: int, seed: int = 0, size: int = 64) -> Drawn:
    """Rings on noise; those of class 1 hold a bright spot. Rows in reverse order of the pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - size / 2
    ring = np.abs(np.hypot(x, y) - size * 0.35) < 2
    labels = rng.integers(0, 2, n)
    pixels = rng.normal(110, 12, (n, size, size, 1)) + 60 * ring[..., None]
    for image, label in zip(pixels[::-1], labels, strict=True):
        if label:
            angle = rng.uniform(0, 2 * np.pi)
            spot = np.hypot(x - np.cos(angle) * size * 0.2, y - np.sin(angle) * size * 0.2) < size * 0.1
            image[spot] += 60
    pixels = np.repeat(np.clip(pixels, 0, 255).astype(np.uint8), 3, axis=3)
    return Drawn(pixels, np.arange(n)[::-1].copy(), labels, np.full(n, 5), np.arange(n))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def weights_after(seed: int = 3, settings: TrainSettings = FAST, noise: int = 0) -> dict[str, torch.Tensor]:
    model = create_model("small_cnn", seed=1)
    torch.manual_seed(noise)
    np.random.seed(noise)
    train(model, draw(40), settings, seed=seed)
    return model.state_dict()


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_same_seed_gives_bit_identical_weights(optimiser: str) -> None:
    settings = replace(FAST, optimiser=optimiser)
    first, again = weights_after(settings=settings, noise=1), weights_after(settings=settings, noise=2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    other = weights_after(seed=4, settings=settings)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_training_does_not_change_the_global_generator() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    train(create_model("small_cnn"), draw(20), FAST, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())


def test_default_model_learns() -> None:
    """A few clearly different drawn images are enough, and the model also scores images that it has not seen."""
    model = create_model("small_cnn", seed=0)
    first = train(model, draw(160), replace(FAST, local_epochs=1), seed=0).loss
    last = train(model, draw(160), replace(FAST, local_epochs=8), seed=1)
    assert last.loss < first
    assert (last.examples, last.batches) == (160, 80)
    summary = evaluate(model, draw(100, seed=9)).sums().summary(5)
    assert summary.auroc is not None and summary.auroc > 0.9


def test_balance_raises_the_weight_of_the_rare_label() -> None:
    data = draw(60)
    rare = replace(data, labels=np.where(np.arange(60) < 6, 1, 0))
    means = []
    for balance in (0.0, 1.0):
        model = create_model("small_cnn", seed=2)
        train(model, rare, replace(FAST, local_epochs=4, balance=balance), seed=2)
        means.append(float(predict(model, rare).mean()))
    assert means[0] < 0.3 < means[1]


def test_training_accepts_a_single_label() -> None:
    data = draw(20)
    result = train(create_model("small_cnn"), replace(data, labels=np.zeros(20, np.int64)), FAST, seed=0)
    assert np.isfinite(result.loss)


def test_evaluation_reads_rows_in_order_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data, model = draw(30), create_model("small_cnn", seed=4)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    scores = predict(model, data)
    monkeypatch.setattr(task, "BATCH", 7)
    np.testing.assert_allclose(scores, predict(model, data), atol=1e-5)
    one = predict(
        model,
        replace(data, rows=data.rows[3:4], labels=data.labels[3:4], days=data.days[3:4], embryos=np.zeros(1, np.int64)),
    )
    assert one[0] == pytest.approx(scores[3], abs=1e-5)
    summary = evaluate(model, data).sums().summary(5)
    assert (summary.n, summary.positives) == (30, data.labels.sum())
    assert summary.brier == pytest.approx(float(((scores - data.labels) ** 2).mean()), abs=1e-5)
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_progress_is_reported_after_every_batch() -> None:
    calls: list[tuple[int, int, float]] = []
    settings = replace(FAST, local_epochs=2)
    result = train(create_model("small_cnn"), draw(40), settings, seed=0, progress=lambda *a: calls.append(a))
    assert [call[:2] for call in calls] == [(i, 6) for i in range(1, 7)]
    assert calls[-1][2] == pytest.approx(result.loss)


def test_infinite_loss_says_what_to_do() -> None:
    with pytest.raises(UserError, match="loss became nan.*Lower the learning rate"):
        model = create_model("small_cnn")
        torch.nn.init.constant_(model.get_parameter("head.weight"), float("nan"))
        train(model, draw(20), FAST, seed=0)
    assert not np.isfinite(train(model, draw(20), FAST, seed=0, to_the_end=True).loss)
    assert evaluate(model, draw(4)).scores.tolist() == [0.5] * 4


def test_nothing_to_train_on_is_an_error() -> None:
    with pytest.raises(UserError, match="no images"):
        train(create_model("small_cnn"), draw(0), FAST, seed=0)
    assert evaluate(create_model("small_cnn"), draw(0)).sums().summary().n == 0


def test_unknown_optimiser_lists_those_that_exist() -> None:
    with pytest.raises(UserError, match="'lion'.*adamw, sgd"):
        train(create_model("small_cnn"), draw(4), replace(FAST, optimiser="lion"), seed=0)  # type: ignore[arg-type]


def test_balanced_training_does_not_learn_the_day() -> None:
    """One day has mostly label 1, the other mostly label 0: on both, the labels weigh the same."""
    labels = torch.tensor([1.0] * 8 + [0.0] * 2 + [1.0] * 2 + [0.0] * 8)
    days = torch.tensor([5] * 10 + [3] * 10)
    weights = class_weights(labels, days, 1.0)
    for day in (3, 5):
        on_day = days == day
        assert float(weights[on_day & (labels == 1)].sum()) == pytest.approx(5)
        assert float(weights[on_day & (labels == 0)].sum()) == pytest.approx(5)
    assert torch.equal(class_weights(labels, days, 0.0), torch.ones(20))


def test_single_embryo_does_not_outweigh_a_day() -> None:
    labels, days = torch.tensor([1.0] + [0.0] * 199), torch.full((200,), 3)
    assert float(class_weights(labels, days, 1.0)[0]) < 21


def test_embeddings_are_trained_on_unchanged() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    inputs = (rng.normal(size=(60, 1280)) + labels[:, None] * 0.2).astype(np.float32)
    data = Drawn(inputs, np.arange(60), labels, np.full(60, 5), np.arange(60))
    model = create_model("lite0_head")
    train(model, data, TrainSettings(local_epochs=5, learning_rate=1e-3), seed=0)
    assert evaluate(model, data).sums().summary().auroc == pytest.approx(1.0, abs=0.01)


def test_proximal_term_keeps_the_model_near_its_start() -> None:
    begun = create_model("small_cnn", seed=1).state_dict()

    def strayed(proximal: float) -> float:
        after = weights_after(settings=replace(FAST, local_epochs=3, proximal=proximal))
        return sum(float((after[n] - begun[n]).square().sum()) for n in begun)

    assert strayed(100) < 0.5 * strayed(0)
    assert strayed(1e-12) == pytest.approx(strayed(0), rel=1e-3)


def views_of(data: Drawn, copies: npt.NDArray[np.int64]) -> Drawn:
    """Each image `copies` times, as views of one embryo, in random order."""
    order = np.random.default_rng(5).permutation(np.repeat(np.arange(len(data.rows)), copies))
    numbers = {embryo: number for number, embryo in enumerate(dict.fromkeys(order.tolist()))}
    embryos = np.array([numbers[embryo] for embryo in order.tolist()])
    cohorts = None if data.cohorts is None else data.cohorts[order]
    return replace(
        data, rows=data.rows[order], labels=data.labels[order], days=data.days[order], embryos=embryos, cohorts=cohorts
    )


def test_embryo_with_several_images_counts_once() -> None:
    data, model = draw(30), create_model("small_cnn", seed=1)
    once = evaluate(model, data).sums()
    often = evaluate(model, views_of(data, np.arange(30) % 4 + 1)).sums()
    assert (often.summary().n, often.summary().positives) == (once.summary().n, once.summary().positives)
    assert often.summary().auroc == pytest.approx(once.summary().auroc, abs=1e-9)
    patients = replace(data, cohorts=np.arange(30) // 5 - 1)  # the first five have no known patient
    ranked, seen_often = (
        evaluate(model, x).sums().pooled().ranking for x in (patients, views_of(patients, np.arange(30) % 4 + 1))
    )
    assert 0 < ranked.cohorts <= 5 and seen_often.cohorts == ranked.cohorts and seen_often.embryos == ranked.embryos
    assert (seen_often.tau, seen_often.top) == pytest.approx((ranked.tau, ranked.top))
    result = train(model, views_of(data, np.arange(30) % 4 + 1), FAST, seed=0)
    assert (result.examples, result.batches) == (30, 2)


def test_logits_of_an_embryos_images_are_averaged() -> None:
    data, model = draw(12), create_model("small_cnn", seed=1)
    alone = predict(model, data)
    logits = np.log(alone / (1 - alone))
    together = predict(model, replace(data, embryos=np.arange(12) // 3))
    np.testing.assert_allclose(together, 1 / (1 + np.exp(-logits.reshape(4, 3).mean(axis=1))), atol=1e-6)


def test_training_eventually_uses_every_view_and_is_repeatable() -> None:
    data = views_of(draw(20), np.full(20, 3))
    seen: set[int] = set()

    class Watched:
        def __getitem__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
            seen.update(rows.tolist())
            return data.pixels[rows]  # type: ignore[return-value]

    three = replace(data, rows=np.arange(20), labels=np.arange(20) % 2, days=np.full(20, 5), embryos=np.arange(20) // 2)
    watched = replace(three, pixels=Watched())  # type: ignore[arg-type]
    weights = []
    for _ in range(2):
        model = create_model("small_cnn", seed=1)
        train(model, watched, replace(FAST, local_epochs=12), seed=4)
        weights.append(model.state_dict())
    assert seen == set(range(20))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
