"""What a hub that chooses the models reads of one embryo's label from the metrics of a clinic, by the clinic's policy."""

import numpy as np
import pytest

from embryofl.metrics import BINS, ScoreSums
from embryofl.pooled_metrics import SPLITS, filled_cells
from embryofl.secagg.messages import MAX_CELLS
from embryofl_clinic.workload.own_results import OwnResultsFile
from kits.head_clinics import Clinic, summed
from kits.label_attack import Aims, features, label_accuracy, of_reply
from kits.pictures import Population

pytestmark = pytest.mark.integration

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


@pytest.mark.slow
def test_the_label_of_a_chosen_picture_is_read_from_a_clinics_own_metrics(tmp_path):
    assert accuracy(tmp_path, 'metrics = "own"') == 1.0


@pytest.mark.slow
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


def told_by_two_answers(folder, world: int, policy: str) -> bool:
    """Whether the difference of two pooled sums is one embryo with the label of the picture, which is a coin's."""
    population, coin = Population(world), int(np.random.default_rng(world).integers(2))
    lines = f'metrics = "pooled"\npeers = "first"\n{policy}'
    (folder / f"{world}").mkdir()
    clinics = [Clinic(name, folder / f"{world}", lines, population) for name in ("anna", "bert", "cleo")]
    clinics[0].workload.label(0, coin)
    heads = Aims(population).two_heads(clinics[0].pictures[0])
    before, after = (summed(clinics, run, *head)["validation"].pooled().histogram for run, head in enumerate(heads, 1))
    moved = after - before
    return abs(moved).sum() == 2 and moved[coin, BINS // 2 :].sum() == 1


def test_two_answers_about_models_made_for_it_tell_the_label_of_a_chosen_picture(tmp_path):
    """In 15 of 16 cases. A clinic that allows two answers in 90 days trades that."""
    assert sum(told_by_two_answers(tmp_path, world, "max_evaluations = 2") for world in range(6)) >= 5


def test_by_default_a_second_answer_is_declined(tmp_path):
    with pytest.raises(AssertionError, match=r"answers 0 more in 90 days \(max_evaluations = 1\)"):
        told_by_two_answers(tmp_path, 0, "")


@pytest.mark.parametrize(
    "clinics",
    [
        [(40, 5), (12, 5), (14, 5)],  # two have too few for a bin
        [(40, 5), (40, 3), (40, 3)],
        [(40, 5), (40, 5), (40, 5), (14, 5)],  # one of the three may drop out, and two would be left
    ],
)
def test_a_day_that_may_be_that_of_fewer_than_three_clinics_is_withheld(tmp_path, clinics):
    names = ("anna", "bert", "cleo", "dora")
    policy = 'metrics = "pooled"\npeers = "first"'
    made = [Clinic(name, tmp_path, policy, Population(0, *of)) for name, of in zip(names, clinics, strict=False)]
    for sums in summed(made, 1, np.full(1280, 0.01), 0.0).values():
        assert not sums.pooled().histogram.any() and sums.pooled().withheld == len(clinics)


def test_days_that_three_clinics_fill_are_summed_without_those_of_a_fourth(tmp_path):
    """Eight may lose two: a day needs five of them."""
    policy = 'metrics = "pooled"\npeers = "first"'
    made = [Clinic(f"clinic-{n}", tmp_path, policy, Population(0, 40, 5 if n < 5 else 3)) for n in range(8)]
    for sums in summed(made, 1, np.full(1280, 0.01), 0.0).values():
        assert sums.days[5].counts.sum() == 200 and sums.days[5].withheld == 0
        assert not sums.days[3].histogram.any() and sums.days[3].withheld == 3


def test_a_clinic_says_which_days_it_fills_by_numbers_of_embryos_alone(tmp_path):
    made = [Clinic(f"clinic-{n}", tmp_path, "", Population(n, n, 4)) for n in (14, 15, 40)]
    filled = [filled_cells(dict.fromkeys(SPLITS, clinic.workload.unscored("test").sums()), 5) for clinic in made]
    assert filled == [0, both := 1 << 4 | 1 << 19, both]
    every_day = ScoreSums.from_scores(np.full(600, 0.3), np.arange(600) % 2, np.arange(600) // 40)
    assert filled_cells(dict.fromkeys(SPLITS, every_day), 5) == (1 << MAX_CELLS) - 1


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
