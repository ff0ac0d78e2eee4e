"""One federation in containers for the whole session."""

from collections.abc import Iterator

import pytest

from kits.containers import Containers, why_not


@pytest.fixture(scope="session")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """Three clinics that `make up` has started, with a run of three rounds."""
    reason = why_not()
    if reason:
        pytest.skip(f"no containers here: {reason}")
    found = Containers(tmp_path_factory.mktemp("compose"))
    found.clean()
    try:
        found.first_words = found.page("README.md", "make up", IMAGES="200", SET="rounds=3,local_epochs=1")
        found.first_run = found.finished()
        yield found
    finally:
        found.clean()
