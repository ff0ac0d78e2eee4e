"""The noise of an update follows from a secret of the clinic and from run, round and model."""

import pytest

from embryofl.errors import UserError
from embryofl.secagg.messages import Terms
from embryofl_clinic.masking.noise_key import FILE, noise_key

TERMS = {"run": "run-0001", "round": 1, "kind": "train", "attempt": 1, "model": "a" * 64, "work": "b" * 64}


def key(folder, **changes):
    return noise_key(folder, Terms(**(TERMS | {"length": 5, "bound": 1.0} | changes)))


def test_another_attempt_has_the_same_noise_and_another_model_round_run_or_clinic_does_not(tmp_path):
    keys = {key(tmp_path, attempt=attempt, bound=float(attempt)) for attempt in (1, 2)}
    assert len(keys) == 1
    changes = ({"run": "run-0002"}, {"round": 2}, {"model": "c" * 64})
    keys |= {key(tmp_path, **change) for change in changes} | {key(tmp_path / "another")}
    assert len(keys) == 5 and {len(k) for k in keys} == {32}
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_damaged_secret_is_reported_with_the_remedy(tmp_path):
    key(tmp_path)
    (tmp_path / FILE).write_bytes(b"short")
    with pytest.raises(UserError, match=r"has 5 bytes, expected 32\. Remove it"):
        key(tmp_path)
