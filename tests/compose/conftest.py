"""One federation in containers for the whole session."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

for folder in ("compose", "docs"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))

from containers_kit import Containers, why_not  # noqa: E402


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
