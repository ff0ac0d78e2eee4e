"""Strategies with a drift correction or a personal model: what a clinic computes, in real training on drawn images."""

import numpy as np
import pytest
import torch
from torch import nn

from embryofl import packing, task
from embryofl.models.parts import head_parameters, norm_tensors
from embryofl.settings import TrainSettings
from embryofl.weighting import TaskLosses, loss_ratio_weights
from embryofl_clinic.workload.personal import PersonalStore
from embryofl_clinic.workload.round_files import KEEP_ROUNDS
from embryofl_data.dataset import load_clinic_data
from embryofl_demo.local_run import LoadedWorkload, alone, initial_model, personal_scores, run_locally
from embryofl_server.federation.run_settings import check_settings
from kits.federation import draw_clinic
from kits.training import train_rounds

pytestmark = pytest.mark.integration


class Rows:
    """Embeddings of four embryos."""

    pixels = np.array([[1, 0], [0, 1], [1, 1], [2, 1]], np.float32)
    rows, labels = np.arange(4), np.array([1, 0, 1, 0])
    days = np.full(4, 5)
    embryos = groups = np.arange(4)


class Logits(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 1)
        nn.init.constant_(self.head.weight, 0.3)
        nn.init.constant_(self.head.bias, -0.1)

    def forward(self, x):
        return self.head(x).squeeze(1)


def trained(optimiser="sgd", proximal=0.0, **more):
    model = Logits()
    how = TrainSettings(1, 4, 0.1, 0.0, optimiser, proximal=proximal)
    task.train(model, Rows(), how, seed=1, **more)
    return model.head.weight.detach().double().numpy().ravel()


def test_drift_correction_is_added_to_the_step_or_to_the_gradient():
    c = {"head.weight": torch.tensor([[0.5, -1.0]]), "head.bias": torch.zeros(1)}
    steps, gradients = task.StepCorrection("steps", c), task.StepCorrection("gradients", c)
    plain = trained()
    assert trained(control=steps) - plain == pytest.approx([-0.1 * 0.5, 0.1 * 1.0], abs=1e-6)
    # Nesterov's first step with momentum 0.9 is 1.9 times the gradient
    assert trained(control=gradients) - plain == pytest.approx([-0.19 * 0.5, 0.19 * 1.0], abs=1e-6)
    assert trained("adamw", control=steps) - trained("adamw") == pytest.approx([-0.05, 0.1], abs=1e-6)


def test_the_proximal_term_pulls_towards_the_anchor():
    """Ditto: lambda (v - w) is added to the gradient."""
    anchor = {"head.weight": torch.tensor([[1.3, 0.3]]), "head.bias": torch.tensor([-0.1])}
    assert trained(proximal=0.5, anchor=anchor) - trained() == pytest.approx([0.19 * 0.5 * 1.0, 0], abs=1e-6)


def test_task_weights_follow_fedembryos_formula():
    a, b, c = np.exp(0.5 / 4), np.exp(1.5 / 4), np.exp(1 / 4)
    weights = TaskLosses({"icm": 2.0, "te": 2.0}, {"icm": 1.0, "te": 3.0, "expansion": 1.0}).weights()
    assert weights == {n: pytest.approx(3 * v / (a + b + c)) for n, v in (("icm", a), ("te", b), ("expansion", c))}
    assert loss_ratio_weights([1.0, 1.0]) == [0.5, 0.5]


def test_a_repeated_round_discards_the_models_of_later_rounds(tmp_path):
    store = PersonalStore(tmp_path)
    assert store.newest("run-0001", 9) is None
    for number in (1, 2, 4, 5):
        store.save("run-0001", number, np.full(3, number, np.uint8))
    assert store.newest("run-0001", 3)[0] == 2 and store.newest("run-0001", 1) is None and KEEP_ROUNDS == 3
    store.save("run-0001", 4, np.full(3, 44, np.uint8))
    assert store.newest("run-0001", 9)[0] == 44


@pytest.fixture(scope="module")
def clinics(tmp_path_factory):
    """`clinics(settings, names)`: new workloads on the same drawn folders."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("drawn")
    names = ("clinic-1", "clinic-2", "large")
    paths = {n: draw_clinic(folder / n, n, patients=120 if n == "large" else 30) for n in names}

    def make(settings, names=names[:2]):
        data = {n: load_clinic_data(paths[n], folder / "cache" / n, settings.image_size) for n in names}
        return {n: LoadedWorkload(settings, d) for n, d in data.items()}

    return make


def set_up(strategy, **more):
    values = {"model": "small_cnn", "image_size": 32, "rounds": 2, "local_epochs": 1, "min_clinics": 1, "batch_size": 8}
    return check_settings({**values, "strategy": strategy, **more})


def test_scaffold_with_one_clinic_is_bit_identical_to_fedavg(clinics):
    made = [
        run_locally(clinics(s, ["clinic-1"]), s, initial_model(s)).packed
        for s in (set_up("fedavg", rounds=3), set_up("scaffold", rounds=3))
    ]
    assert made[0].tobytes() == made[1].tobytes()


def test_scaffold_with_two_clinics_differs_from_fedavg(clinics):
    fedavg, scaffold = (
        run_locally(clinics(s), s, initial_model(s)).packed for s in (set_up("fedavg"), set_up("scaffold"))
    )
    assert fedavg.tobytes() != scaffold.tobytes()


def test_fedbn_keeps_normalisation_out_of_the_global_model_and_evaluates_with_its_own(clinics):
    settings = set_up("fedbn")
    workloads, first = clinics(settings), initial_model(settings)
    made = run_locally(workloads, settings, first)
    one = workloads["clinic-1"]
    norms = norm_tensors(one.model)
    before, after = one.layout.tensor_views(first), one.layout.tensor_views(made.packed)
    assert norms and all((before[n] == after[n]).all() for n in norms)
    assert any((before[n] != after[n]).any() for n in before if n not in norms)
    personal = personal_scores(workloads, settings, made)
    one.load(made.packed)
    assert set(personal) == {"clinic-1", "clinic-2"} and (personal["clinic-1"] != one.scores()).any()
    kept = PersonalStore(one.personal_dir).newest("run-0001", 2)
    assert any((one.layout.tensor_views(kept)[n] != before[n]).any() for n in norms)


def test_ditto_without_pull_equals_training_alone_and_leaves_the_global_model_unchanged(clinics):
    settings = set_up("ditto", personal_pull=0.0)
    workloads, first = clinics(settings), initial_model(settings)
    made = run_locally(workloads, settings, first)
    plain = set_up("fedavg")
    assert made.packed.tobytes() == run_locally(clinics(plain), plain, first).packed.tobytes()
    local_only = run_locally(clinics(plain, ["clinic-2"]), alone(plain), first)
    personal = PersonalStore(workloads["clinic-2"].personal_dir).newest("run-0001", 2)
    assert personal.tobytes() == local_only.packed.tobytes()


def test_a_repeated_round_gives_the_same_personal_model(clinics):
    settings = set_up("ditto", personal_pull=1.0)
    one, first = clinics(settings)["clinic-1"], initial_model(settings)
    store = PersonalStore(one.personal_dir)
    for number in (1, 3):  # round 2 was missed
        train_rounds(one, first, settings, [number], "clinic-1")
    third = store.newest("run-0001", 3)
    train_rounds(one, first, settings, [3], "clinic-1")
    assert store.newest("run-0001", 3).tobytes() == third.tobytes() != store.newest("run-0001", 2).tobytes()


def test_a_fine_tuned_personal_model_differs_from_the_global_one_only_in_the_head(clinics):
    settings = set_up("finetuned_heads")
    workloads, first = clinics(settings), initial_model(settings)
    made = run_locally(workloads, settings, first)
    one = workloads["clinic-1"]
    personal_scores(workloads, settings, made)
    personal = one.layout.tensor_views(PersonalStore(one.personal_dir).newest("run-0001", 2))
    shared = one.layout.tensor_views(made.packed)
    changed = [n for n in personal if (personal[n] != shared[n]).any()]
    assert changed == head_parameters(one.model) == ["head.weight", "head.bias"]
    assert packing.pack(one.model.state_dict()).tobytes() == made.packed.tobytes()  # the global model is loaded again


def test_the_best_round_by_validation_is_chosen_and_training_ends_early(clinics):
    settings = set_up("fedavg", rounds=4, choose="best", patience=1, learning_rate=0.03)
    made = run_locally(clinics(settings, ["large"]), settings, initial_model(settings))
    best = int(np.argmax(made.validation))
    shorter = settings.model_copy(update={"choose": "last", "patience": 0})
    every = run_locally(clinics(shorter, ["large"]), shorter, initial_model(shorter))
    assert made.validation == every.validation[: len(made.validation)]
    first_worse = next(i for i in range(1, 9) if i == 4 or every.validation[i] <= max(every.validation[:i]))
    assert made.rounds == min(4, first_worse + 1)  # a round's metrics are known one round later
    assert (made.packed.tobytes() == every.packed.tobytes()) == (best == 4)


def test_mixed_precision_changes_nothing_without_a_gpu(clinics):
    one, two = (
        run_locally(clinics(s, ["clinic-1"]), s, initial_model(s)).packed
        for s in (set_up("fedavg", rounds=1), set_up("fedavg", rounds=1, mixed_precision=True))
    )
    assert one.tobytes() == two.tobytes()
