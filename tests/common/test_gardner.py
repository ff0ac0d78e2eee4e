"""Gardner grades next to the label: grades become steps, unknown grades do not affect training, sums can be released."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from embryofl.gardner import COLUMNS, STEPS, Agreement, added, agreement, steps_of
from embryofl.models import model_names
from embryofl.models.grades import grade_losses, with_grades
from embryofl.models.zoo import create_model
from embryofl.settings import TrainSettings
from embryofl.task import evaluate_grades, predict, train
from embryofl_data.dataset import ImageExamples, pool

pytestmark = pytest.mark.integration

NAN = float("nan")


def test_grade_becomes_steps_and_unknown_grade_nan() -> None:
    assert steps_of("4", "B", "a") == [1, 1, 1, 0, 0, 1, 0, 1, 1]
    assert steps_of("1", "C", "C") == [0] * STEPS
    assert np.isnan(steps_of("", "?", "good")).all()
    assert np.isnan(steps_of("7", "B", "0")).tolist() == [True] * 5 + [False] * 2 + [True] * 2


def test_agreement_equals_that_computed_by_hand_even_when_pooled() -> None:
    steps = np.array([steps_of("4", "B", ""), steps_of("2", "A", ""), steps_of("6", "", "")], np.float32)
    logits = np.where(
        np.array([steps_of("4", "B", "A"), steps_of("5", "C", "A"), steps_of("6", "A", "A")]) > 0, 2.0, -2.0
    )
    result = agreement(logits, steps, fewest=2)
    assert result == {
        "expansion": Agreement(embryos=3, exact=2, distance=3),
        "icm": Agreement(embryos=2, exact=1, distance=2),
    }
    assert set(agreement(logits, steps, fewest=3)) == {"expansion"}  # fewer are withheld
    assert added([result, result, {}])["icm"] == Agreement(embryos=4, exact=2, distance=4)
    for wrong in ((3, 4, 0), (3, 1, 1), (3, 2, 9)):
        with pytest.raises(ValidationError):
            Agreement(embryos=wrong[0], exact=wrong[1], distance=wrong[2])


def test_unknown_grades_do_not_count_in_the_loss() -> None:
    logits = torch.randn(3, STEPS, generator=torch.Generator().manual_seed(1), requires_grad=True)
    steps = torch.tensor([steps_of("3", "", ""), steps_of("", "", ""), steps_of("", "A", "")])
    losses = grade_losses(logits, steps)
    loss = sum(share * one for one, _, share in losses.values())
    assert {target: count for target, (_, count, _) in losses.items()} == {"expansion": 5, "icm": 2}
    p = torch.sigmoid(logits.detach()).numpy().astype(float)
    by_hand = -np.mean(np.log([p[0, 0], p[0, 1], 1 - p[0, 2], 1 - p[0, 3], 1 - p[0, 4], p[2, 5], p[2, 6]]))
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)
    loss.backward()
    assert (
        logits.grad[1].abs().sum() == 0 and logits.grad[2, :5].abs().sum() == 0 and logits.grad[:, 7:].abs().sum() == 0
    )
    assert grade_losses(logits, torch.full((3, STEPS), NAN)) == {}


@pytest.mark.parametrize("name", [n for n in model_names() if "lite0" not in n] + ["lite0"])
def test_grades_do_not_change_the_score_of_the_label(name: str) -> None:
    plain, model = create_model(name, seed=3), create_model(name, seed=3, grades=True)
    before, after = plain.state_dict(), model.state_dict()
    assert set(after) - set(before) == {"grades.weight", "grades.bias"}
    assert all(torch.equal(after[key], before[key]) for key in before)
    images = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8)
    logits, steps = with_grades(model.eval(), images)
    assert (
        torch.equal(logits, plain.eval()(images)) and torch.equal(logits, model(images)) and steps.shape == (2, STEPS)
    )


def drawn(count: int, graded: bool) -> ImageExamples:
    """A wider disc for a higher expansion; label 1 for 4 and above."""
    expansion = np.arange(count) % 6 + 1
    y, x = np.indices((32, 32)) - 15.5
    discs = np.hypot(x, y) < (2 * expansion + 1)[:, None, None]
    grain = np.random.default_rng(0).integers(0, 12, (count, 32, 32, 1), np.uint8)
    pixels = np.repeat(np.where(discs, 90, 160).astype(np.uint8)[..., None] + grain, 3, axis=3)
    steps = np.array([steps_of(str(e) if graded else "", "", "") for e in expansion], np.float32)
    ids = np.arange(count)
    return ImageExamples(pixels, ids, (expansion >= 4).astype(np.int64), np.full(count, 5), ids, ids, None, steps)


def test_grades_are_learned_with_the_label_and_a_clinic_without_grades_keeps_their_head() -> None:
    settings = TrainSettings(local_epochs=30, learning_rate=3e-3, batch_size=16, grades=1.0)
    model = create_model("small_cnn", seed=1, grades=True)
    bare = drawn(48, graded=False)
    train(model, bare, settings, seed=1)
    head = model.get_submodule("grades")
    assert head.weight.abs().sum() == 0 and head.bias.abs().sum() == 0
    assert evaluate_grades(model, bare, 1) == {}

    model = create_model("small_cnn", seed=1, grades=True)
    train(model, drawn(48, graded=True), settings, seed=1)
    grades = evaluate_grades(model, drawn(48, graded=True), 5)
    assert set(grades) == {"expansion"} and grades["expansion"].distance / 48 < 0.8
    scores, labels = predict(model, bare), bare.labels
    assert scores[labels == 1].min() > scores[labels == 0].max() - 0.2
    assert COLUMNS["te"].stop == STEPS


def test_pooling_clinics_keeps_their_grades() -> None:
    both = pool([drawn(3, graded=True), drawn(2, graded=False)])
    assert np.isnan(both.grades).all(axis=1).tolist() == [False, False, False, True, True]
