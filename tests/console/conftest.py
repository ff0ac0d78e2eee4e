"""Results that several tests of the console show."""

import pytest

from kits.run_reports import results_of, score_sums


@pytest.fixture(scope="session")
def sample():
    """Of two clinics with embryos of two days."""
    return results_of(
        {
            name: {"validation": score_sums(3, 5, seed=i), "test": score_sums(3, 5, seed=9 + i)}
            for i, name in enumerate(("oslo", "porto"))
        }
    )
