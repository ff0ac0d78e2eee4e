"""FedEmbryo inside a clinic: the losses of label and Gardner grades are weighted by how they change.

The weights are checked against the formula computed by hand, also for a repeated round, for a clinic that joins late or
misses rounds, and for a clinic without grades.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from embryofl import task
from embryofl.gardner import STEPS, steps_of
from embryofl.models.grades import add_grades
from embryofl.settings import TrainSettings
from embryofl.weighting import TaskLosses
from embryofl_clinic.workload.round_files import KEEP_ROUNDS
from embryofl_clinic.workload.task_losses import newest_losses, save_losses
from embryofl_data.dataset import load_clinic_data
from embryofl_demo.local_run import LoadedWorkload, initial_model
from embryofl_server.federation.run_settings import check_settings
from kits.federation import draw_clinic
from kits.training import train_rounds

pytestmark = pytest.mark.integration

RATE, GRADES, T = 0.1, 0.5, 4.0
HOW = TrainSettings(1, 4, RATE, 0.0, "sgd", balance=0.0, grades=GRADES)


class Rows:
    """Embeddings of four embryos: three have an expansion grade, one has an ICM grade, none a TE grade."""

    pixels = np.array([[1, 0], [0, 1], [1, 1], [2, 1]], np.float32)
    rows, labels = np.arange(4), np.array([1, 0, 1, 0])
    days = np.full(4, 5)
    embryos = np.arange(4)
    cohorts = None
    grades = np.array(
        [steps_of("3", "A", ""), steps_of("5", "", ""), steps_of("", "", ""), steps_of("1", "", "")], np.float32
    )


class Ungraded(Rows):
    grades = np.full((4, STEPS), np.nan, np.float32)


class Logits(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 1)
        nn.init.constant_(self.head.weight, 0.3)
        nn.init.constant_(self.head.bias, -0.1)
        add_grades(self)

    def forward(self, x):
        return self.head(x).squeeze(1)


def trained(rows, tasks, how=HOW):
    model = Logits()
    result = task.train(model, rows, how, seed=1, tasks=tasks)
    return {name: p.detach().double().numpy() for name, p in model.named_parameters()}, result.tasks


def test_the_first_step_equals_the_formula_computed_by_hand():
    before = TaskLosses({"label": 0.8, "expansion": 0.6, "icm": 0.5}, {"label": 0.6, "expansion": 0.6, "icm": 1.0}, T)
    raised = {"label": np.exp(0.75 / T), "expansion": np.exp(1.0 / T), "icm": np.exp(2.0 / T)}
    weight = {name: 3 * value / sum(raised.values()) for name, value in raised.items()}

    x, y = Rows.pixels.astype(float), Rows.labels
    p = 1 / (1 + np.exp(-(x @ [0.3, 0.3] - 0.1)))
    label = weight["label"] * ((p - y)[:, None] * x).mean(axis=0)
    # Every grade step begins at one half. Embryos 0, 1 and 3 have an expansion grade (15 steps), embryo 0 has one for ICM
    # (2 of 17).
    graded = [0, 1, 3]
    expansion = weight["expansion"] * GRADES * (0.5 - Rows.grades[graded, :5]).T @ x[graded] / 17
    icm = weight["icm"] * GRADES * (0.5 - Rows.grades[[0], 5:7]).T @ x[[0]] / 17

    after, tasks = trained(Rows, before)
    step = RATE * 1.9  # Nesterov's first with momentum 0.9
    assert after["head.weight"].ravel() == pytest.approx(np.array([0.3, 0.3]) - step * label, abs=1e-6)
    assert after["grades.weight"][:5] == pytest.approx(-step * expansion, abs=1e-6)
    assert after["grades.weight"][5:7] == pytest.approx(-step * icm, abs=1e-6)
    assert not after["grades.weight"][7:].any()  # no embryo has a TE grade
    # The next epoch's weights are computed from the unweighted losses.
    bce = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    assert tasks.older == before.newer
    assert tasks.newer == pytest.approx({"label": bce, "expansion": np.log(2), "icm": np.log(2)})


def test_the_first_two_epochs_equal_fixed_weights_and_the_third_does_not():
    for epochs, same in ((1, True), (2, True), (3, False)):
        how = replace(HOW, local_epochs=epochs)
        fixed, dynamic = trained(Rows, None, how)[0], trained(Rows, TaskLosses(), how)[0]
        assert all((fixed[n] == dynamic[n]).all() for n in fixed) == same


def test_epochs_are_counted_across_rounds():
    """After two rounds of one epoch, tasks are weighted as after one round of two epochs."""
    losses = TaskLosses()
    for _ in range(2):
        _, losses = trained(Rows, losses)
    _, one_round = trained(Rows, TaskLosses(), replace(HOW, local_epochs=2))
    assert set(losses.weights()) == {"label", "expansion", "icm"} and len(one_round.weights()) == 3
    assert sum(losses.weights().values()) == pytest.approx(3)


def test_a_task_without_labels_at_the_clinic_is_not_weighted():
    odd = TaskLosses({"label": 0.8}, {"label": 0.4})
    plain, dynamic = trained(Ungraded, None)[0], trained(Ungraded, odd)[0]
    assert odd.weights() == {"label": 1.0} and all((plain[n] == dynamic[n]).all() for n in plain)


def test_a_repeated_round_discards_the_losses_of_later_rounds(tmp_path):
    folder, begin = tmp_path / "run-0001", TaskLosses(temperature=2.0)
    assert newest_losses(folder, 9, begin) == begin
    for number in (1, 2, 4, 5):
        save_losses(folder, number, TaskLosses({"label": 1.0}, {"label": float(number)}))
    assert newest_losses(folder, 3, begin) == TaskLosses({"label": 1.0}, {"label": 2.0}, 2.0) and KEEP_ROUNDS == 3
    save_losses(folder, 4, TaskLosses({}, {"label": 44.0}))
    assert newest_losses(folder, 9, begin).newer == {"label": 44.0}


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """`clinic(settings, graded)`: a new workload on the same drawn folder."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("drawn")
    paths = {graded: draw_clinic(folder / str(graded), "anna", 30, graded=graded) for graded in (True, False)}

    def make(settings, graded=True):
        data = load_clinic_data(paths[graded], folder / "cache" / str(graded), settings.image_size)
        return LoadedWorkload(settings, data)

    return make


def set_up(strategy="fedembryo", **more):
    values = {"model": "small_cnn", "image_size": 32, "rounds": 4, "local_epochs": 1, "min_clinics": 1, "batch_size": 8}
    return check_settings({**values, "strategy": strategy, "grades": 0.5, **more})


def course(one, settings, rounds, packed=None):
    """The packed model after these rounds of one clinic."""
    packed = initial_model(settings) if packed is None else packed
    return train_rounds(one, packed, settings, rounds, "anna")


def test_only_fedembryo_weights_tasks_and_only_from_the_third_epoch(clinic):
    fedembryo, fedavg = set_up(), set_up("fedavg")
    assert fedavg.tasks is None and set_up(grades=0).tasks is None and set_up(temperature=2.0).tasks.temperature == 2.0
    first, other = (course(clinic(s), s, (1, 2)) for s in (fedembryo, fedavg))
    assert first.tobytes() == other.tobytes()
    weighted, plain = (course(clinic(s), s, (1, 2, 3)) for s in (fedembryo, fedavg))
    assert weighted.tobytes() != plain.tobytes()


def test_a_repeated_round_is_bit_identical_even_after_a_restart(clinic):
    settings = set_up()
    one = clinic(settings)
    two = course(one, settings, (1, 2))
    three = course(one, settings, (3,), two)
    again = course(one, settings, (3,), two)
    after = clinic(settings)  # a new process with the same state folder
    after.personal_dir = one.personal_dir
    assert three.tobytes() == again.tobytes() == course(after, settings, (3,), two).tobytes()
    forgetful = course(clinic(settings), settings, (3,), two)  # without that folder, weighting starts over
    assert forgetful.tobytes() != three.tobytes()


def test_a_late_clinic_starts_with_fixed_weights_and_a_missed_round_keeps_earlier_losses(clinic):
    settings, plain = set_up(), set_up("fedavg")
    start = initial_model(settings)
    late, usual = (course(clinic(s), s, (3, 4), start) for s in (settings, plain))
    assert late.tobytes() == usual.tobytes()  # its first two epochs
    one = clinic(settings)
    course(one, settings, (1, 2))
    kept = newest_losses(one.personal_dir / "run-0001", 9, TaskLosses())
    course(one, settings, (4,), start)  # round 3 was missed
    assert newest_losses(one.personal_dir / "run-0001", 9, TaskLosses()).older == kept.newer


def test_a_clinic_without_grades_trains_with_fixed_weights(clinic):
    settings, plain = set_up(), set_up("fedavg")
    made = [course(clinic(s, graded=False), s, (1, 2, 3)) for s in (settings, plain)]
    assert made[0].tobytes() == made[1].tobytes()
