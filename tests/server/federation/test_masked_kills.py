"""A hub that is killed in a masked round ends in the same bits."""

import pytest

from kits.masked_rounds import Killed, masked_runs, undisturbed
from kits.rounds import once

pytestmark = pytest.mark.integration


@pytest.fixture
def stage(tmp_path, packed, monkeypatch):
    """See `masked_runs`."""
    with masked_runs(tmp_path, packed, monkeypatch) as make:
        yield make


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["keys", "letters", "train", "survivors", "shares"])
@pytest.mark.parametrize("who", ["anna", "cleo"])
def test_hub_killed_in_any_phase_ends_in_the_same_bits(stage, kind, who):
    run = stage(rounds=3)
    run.fleet.fault = once(kind, who, 2, what="killed")
    with pytest.raises(Killed):
        run.go()
    assert bool(list(run.run.folder.glob("round-0002.masked"))) == (kind in ("survivors", "shares"))
    assert run.go() == undisturbed(stage, rounds=3)
    assert not list(run.run.folder.glob("*.masked"))
    assert all(w.trained == 3 for w in run.fleet.workloads.values())


def test_damaged_masked_sum_is_set_aside_and_the_round_begins_again(stage):
    run = stage(rounds=1)
    run.fleet.fault = once("survivors", "anna", what="killed")
    with pytest.raises(Killed):
        run.go()
    path = run.run.folder / "round-0001.masked"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert run.go() == undisturbed(stage, rounds=1)
