"""What a hub that chooses the models reads of one embryo's label from the metrics of a clinic, by the clinic's policy."""

import numpy as np
import pytest

from embryofl.pooled_metrics import SPLITS
from embryofl_clinic.workload.own_results import OwnResultsFile
from kits.label_attack import Aims, Clinic, Population, features, label_accuracy, of_reply, summed

WORLDS, PICTURES = 10, 20
PLAIN = "require_secure_aggregation = false\n"


def accuracy(folder, policy: str) -> float:
    """Of the label of a picture among 40 validation embryos, from everything that a run's replies release."""
    rng, seen, coins = np.random.default_rng(0), [], []
    for world in range(WORLDS):
        population = Population(world)
        (folder / f"{world}").mkdir()
        clinic, aims = Clinic("anna", folder / f"{world}", PLAIN + policy, population), Aims(population)
        for picture in range(PICTURES):
            coins.append(int(rng.integers(2)))
            clinic.workload.label(picture, coins[-1])
            head = aims.head("alone", clinic.pictures[picture])
            replies = [clinic.ask(kind, picture, 2, *head) for kind in ("train", "validate", "evaluate")]
            assert not replies[0].refused and not replies[2].refused
            seen.append([value for reply in replies for value in of_reply(reply)])
    return label_accuracy(seen, coins)


def test_the_label_of_a_chosen_picture_is_read_from_a_clinics_own_metrics(tmp_path):
    assert accuracy(tmp_path, 'metrics = "own"') == 1.0


def test_the_sum_over_three_clinics_hardly_tells_a_label(tmp_path):
    """0.46 to 0.56 with four shapes of heads; with bins of 3 embryos in place of 15, 0.68."""
    rng, seen, coins = np.random.default_rng(1), [], []
    for world in range(WORLDS):
        population = Population(100 + world)
        (tmp_path / f"{world}").mkdir()
        policy = 'metrics = "pooled"\npeers = "first"\nmax_evaluations = 0'
        clinics = [Clinic(name, tmp_path / f"{world}", policy, population) for name in ("anna", "bert", "cleo")]
        aims = Aims(population)
        for picture in range(PICTURES):
            coins.append(int(rng.integers(2)))
            clinics[0].workload.label(picture, coins[-1])
            sums = summed(clinics, picture, *aims.head("sure", clinics[0].pictures[picture]))
            seen.append([value for split in SPLITS for value in features(sums[split].pooled())])
    assert label_accuracy(seen, coins) <= 0.65


@pytest.mark.parametrize("metrics", ["pooled", "none"])
def test_a_clinic_that_does_not_release_its_own_metrics_says_nothing_of_a_picture(tmp_path, metrics):
    assert accuracy(tmp_path, f'metrics = "{metrics}"') <= 0.6


@pytest.mark.parametrize("metrics", ["pooled", "none"])
def test_a_clinic_keeps_its_metrics_and_shows_them_on_its_own_page(tmp_path, metrics):
    clinic = Clinic("anna", tmp_path, f'{PLAIN}metrics = "{metrics}"', Population(0))
    for round_ in (1, 2):
        reply = clinic.ask("train", 1, round_, np.full(1280, 0.01 * round_), 0.0)
        assert (reply.train_loss, reply.validation, reply.test, reply.personal, reply.grades) == (
            None,
            None,
            None,
            {},
            {},
        )
        assert reply.examples == 40 and reply.update is not None
    own = OwnResultsFile(clinic.state).read()
    assert [*own.rounds] == [0, 1] and all(0 < m.auroc < 1 and m.loss > 0 for m in own.rounds.values())


@pytest.mark.parametrize(("kind", "round_"), [("validate", 1), ("validate", 2), ("evaluate", 1)])
def test_metrics_of_a_single_round_are_declined_by_name(tmp_path, kind, round_):
    clinic = Clinic("anna", tmp_path, 'metrics = "none"', Population(0))
    reply = clinic.ask(kind, 1, round_, np.zeros(1280), 0.0)
    assert reply.refused.startswith("the clinic does not evaluate single rounds for the hub (metrics = none)")
    assert f"{kind} was asked for after round {round_} of 2" in reply.refused
