"""Run settings: defaults that suit the model, the learning rate's schedule, and no PyTorch."""

import subprocess
import sys

import pytest

from embryofl.errors import UserError
from embryofl.settings import RunSettings, TrainSettings, cosine_scale, run_settings


def test_settings_load_no_pytorch():
    code = "import sys, embryofl.settings, embryofl.messages; sys.exit(bool({'torch', 'flwr'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_run_uses_its_models_recipe_unless_a_setting_is_given():
    assert run_settings({}) == RunSettings()
    assert run_settings({"model": "small_cnn"}).image_size == 96
    assert run_settings({"model": "small_cnn", "image_size": 64}).image_size == 64


def test_the_cosine_schedule_falls_from_one():
    scales = [cosine_scale(number, 10) for number in range(1, 11)]
    assert scales[0] == 1
    assert scales == sorted(scales, reverse=True)
    assert 0 < scales[-1] < 0.1
    assert cosine_scale(1, 1) == 1


def test_a_run_follows_its_schedule():
    assert RunSettings(schedule="constant", rounds=10).rate_scale(7) == 1.0
    assert RunSettings(rounds=10).rate_scale(7) == cosine_scale(7, 10) < 1.0


def test_steps_are_batches_times_epochs_and_at_least_one_per_epoch():
    settings = TrainSettings(local_epochs=3, batch_size=32)
    assert [settings.steps(embryos) for embryos in (0, 1, 32, 33, 65)] == [3, 3, 3, 6, 9]


@pytest.mark.parametrize(
    "values, message",
    [
        ({"ronuds": 3}, "There is no setting ronuds; did you mean rounds"),
        ({"rounds": 0}, "rounds must be at least 1, not '0'"),
        ({"rounds": "many"}, "rounds must be a whole number, not 'many'"),
        ({"learning_rate": float("nan")}, "learning_rate must be a number, not 'nan'"),
        ({"schedule": "linear"}, "schedule must be 'cosine' or 'constant', not 'linear'"),
        ({"quorum": 1.5}, "quorum is a whole number of clinics or a share below 1, not 1.5"),
        ({"seed": -1}, "seed must be at least 0, not '-1'"),
    ],
)
def test_invalid_setting_is_named_in_our_own_words(values, message):
    with pytest.raises(UserError) as caught:
        run_settings(values)
    assert message in str(caught.value)
