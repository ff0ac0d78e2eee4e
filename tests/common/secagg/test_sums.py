"""The unmasked sum is the sum of the vectors, bit for bit, whoever drops out when."""

import numpy as np
import pytest

from embryofl.errors import TooFewClinicsError
from embryofl.secagg.fixed_point import from_ring
from embryofl.secagg.threshold import threshold
from kits.secagg import Attempt, names_of, updates_of, zeros

DROPOUTS = [  # clinics, silent before their letters, late with their vectors, gone before they confirm
    (3, [], [], []),
    (4, ["clinic-02"], [], []),
    (4, [], ["clinic-01"], []),
    (10, [], [], []),
    (10, ["clinic-03"], ["clinic-05", "clinic-10"], []),
    (10, [], ["clinic-01"], ["clinic-02", "clinic-09"]),
    (10, ["clinic-01"], ["clinic-02"], ["clinic-03"]),
]


@pytest.mark.parametrize(("count", "silent", "late", "gone"), DROPOUTS)
def test_sum_is_the_plain_one_and_close_to_that_of_floats(count, silent, late, gone):
    updates, weights = updates_of(count, 70_001)
    attempt = Attempt(updates, weights)
    total = attempt.run(silent, late, gone)
    assert np.array_equal(total, attempt.plain)
    survivors = attempt.statement.survivors
    assert survivors == tuple(n for n in names_of(count) if n not in [*silent, *late])
    exact = sum(weights[n] * updates[n].astype(np.float64) for n in survivors) / sum(weights[n] for n in survivors)
    mean = from_ring(total, attempt.roster.share(survivors, 1), attempt.terms.bound)
    assert np.linalg.norm(mean - exact) < 1e-5 * np.linalg.norm(exact)


@pytest.mark.parametrize("seed", range(8))
def test_sum_is_the_plain_one_for_random_dropouts_of_random_clinics(seed):
    """Any that the thresholds allow: seeded, so that a failure can be repeated."""
    rng = np.random.default_rng([16, seed])
    count = int(rng.integers(3, 10))
    names = [str(n) for n in rng.permutation(names_of(count))]
    silent, late, gone = rng.multinomial(int(rng.integers(0, count - threshold(count) + 1)), [1 / 3] * 3)
    updates, weights = updates_of(count, int(rng.integers(1, 300)), seed)
    attempt = Attempt(updates, weights)
    total = attempt.run(names[:silent], names[silent : silent + late], names[silent + late : silent + late + gone])
    assert np.array_equal(total, attempt.plain)
    assert len(attempt.statement.survivors) == count - silent - late


def test_largest_possible_sum_stays_in_the_ring():
    """All clinics' largest numbers in one place: the sum is the largest that there can be."""
    updates = zeros(5)
    for name in updates:
        updates[name][0], updates[name][1] = 3.0, -4.0
    attempt = Attempt(updates)
    mean = from_ring(attempt.run(), 1.0, 1.0)
    assert np.allclose(mean[:2], [0.6, -0.8], atol=1e-8) and not mean[2:].any()


def test_order_of_uploads_changes_no_bit():
    updates, weights = updates_of(4, 300)
    totals = []
    for order in (1, -1):
        attempt = Attempt(updates, weights)
        attempt.exchange_letters()
        attempt.mask(order=order)
        attempt.close_sum()
        attempt.confirm()
        attempt.reveal()
        totals.append(attempt.unmasking.total())
    assert np.array_equal(*totals)


def test_masked_vectors_look_random_and_never_alike():
    """Of zeros: the counts of their bytes fit a uniform distribution, and another attempt has other masks."""
    masked = []
    for _ in range(2):
        attempt = Attempt(zeros(3, 1 << 17))
        attempt.exchange_letters()
        masked.append(attempt.clinics["clinic-02"].mask(attempt.vector("clinic-02"), attempt.letters["clinic-02"]))
    counts = np.bincount(masked[0].view(np.uint8), minlength=256)
    chi_squared = float(((counts - counts.mean()) ** 2 / counts.mean()).sum())
    assert 150 < chi_squared < 380  # 255 degrees of freedom: within 5 standard deviations
    assert (masked[0] != masked[1]).mean() > 0.999


def test_a_sum_needs_every_one_of_its_masks():
    """Whatever the hub leaves out of the masks that it takes out, nothing of the sum can be seen."""
    attempt = Attempt(zeros(4, 1000))
    attempt.until_statement(late=["clinic-04"])
    masked = attempt.hub.masked_sum.copy()
    attempt.confirm()
    attempt.reveal()
    assert not attempt.unmasking.total().any() and (masked != 0).mean() > 0.999


@pytest.mark.parametrize(
    ("count", "late", "words"),
    [(3, 1, "2 masked vectors, expected at least 3 of 3"), (5, 2, "3 masked vectors, expected at least 4 of 5")],
)
def test_a_sum_over_too_few_clinics_is_not_closed(count, late, words):
    attempt = Attempt(zeros(count))
    with pytest.raises(TooFewClinicsError, match=words):
        attempt.run(late=names_of(late))


def test_letters_of_too_few_clinics_are_not_passed_on():
    with pytest.raises(TooFewClinicsError, match="2 senders of letters, expected at least 3 of 4"):
        Attempt(zeros(4)).exchange_letters(silent=names_of(2))


def test_too_few_shares_and_confirmations_unmask_nothing():
    attempt = Attempt(zeros(5))
    attempt.until_statement()
    attempt.confirm(gone=names_of(2))
    with pytest.raises(TooFewClinicsError, match="3 confirmations, expected at least 4 of 5"):
        attempt.unmasking.confirmations()
    attempt.confirm()
    attempt.reveal(gone=names_of(2))
    with pytest.raises(TooFewClinicsError, match="3 clinics' shares, expected at least 4 of 5"):
        attempt.unmasking.total()
    attempt.reveal()  # those who were away come back
    assert not attempt.unmasking.total().any()
