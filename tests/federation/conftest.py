"""One federation of three clinics for the whole session.

clinic-1 connects through a recording proxy; clinic-3 has no Gardner grades.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kits.demo import Demo
from kits.federation import Federation, clean_environment, draw_clinic, until
from kits.recording_proxy import RecordingProxy

NAMES = ["clinic-1", "clinic-2", "clinic-3"]
_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session", autouse=True)
def _environment() -> Iterator[None]:
    with clean_environment():
        yield


@pytest.fixture(scope="session")
def federation(tmp_path_factory: pytest.TempPathFactory, _environment: None) -> Iterator[Federation]:
    """Three clinics that have joined; `federation.proxy` records all of clinic-1's traffic from its enrolment on."""
    shared = Federation(tmp_path_factory.mktemp("federation") / "shared")
    for name in NAMES:
        draw_clinic(shared.place.data(name), f"{name}-SECRET", graded=name != "clinic-3")
    try:
        shared.stack.start_hub()
        gateway = shared.place.hub / "identity" / "gateway"
        identity = shared.place.clinic("clinic-1") / "identity"
        shared.proxy = RecordingProxy(
            gateway / "gateway.crt", gateway / "gateway.key", shared.ca, shared.port, identity
        )
        shared.stack.via["clinic-1"] = shared.proxy.port
        shared.join(NAMES)
        yield shared
    finally:
        shared.stack.stop()
        if hasattr(shared, "proxy"):
            shared.proxy.close()


@pytest.fixture(scope="session")
def reference(federation: Federation) -> Path:
    """The folder of an undisturbed run of four rounds with seed 1."""
    return federation.run(rounds=4)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """`embryofl-demo` in a folder of its own; at the end nothing of it is left."""
    running = Demo(tmp_path)
    yield running
    if running.process is not None and running.process.poll() is None:
        running.process.kill()
        running.process.wait()
    until("no process is left", lambda: not running.left())


@pytest.fixture(autouse=True)
def _no_run_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Stop a run that a failed test has left behind, so that it does not affect later tests."""
    yield
    if "federation" in request.fixturenames:
        request.getfixturevalue("federation").stop_run()
