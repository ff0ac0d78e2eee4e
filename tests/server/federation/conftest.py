"""What all tests of runs share."""

import pytest

from embryofl_server.federation import final_model


@pytest.fixture(autouse=True)
def _no_report(request, monkeypatch):
    """Runs end without results.json and model card, which take most of their time, except in tests with the marker `report`."""
    if request.node.get_closest_marker("report") is None:
        monkeypatch.setattr(final_model, "write_report", lambda *_: None)
