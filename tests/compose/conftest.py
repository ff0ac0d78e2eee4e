"""One federation in containers for the whole session of each worker."""

from collections.abc import Iterator

import pytest

from kits.containers import Containers, why_not


@pytest.fixture(scope="session")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """Three clinics that `make up` has started, with a run of three rounds."""
    reason = why_not()
    if reason:
        pytest.skip(f"no containers here: {reason}")
    containers = Containers(tmp_path_factory.mktemp("compose"))
    containers.clean()
    try:
        containers.first_words = containers.page(
            "README.md", "make up", IMAGES="120", SET="rounds=3,local_epochs=1,image_size=96"
        )
        containers.first_run = containers.finished()
        yield containers
    finally:
        containers.clean()
