"""The noise of an update, and the threshold of an alarm, follow from a secret of the clinic and from run, round and model."""

import pytest

from embryofl.errors import UserError
from embryofl_clinic.masking.noise_key import FILE, noise_key


def key(folder, **changes):
    return noise_key(folder, **({"use": "noise", "run": "run-0001", "round_": 1, "model": "a" * 64} | changes))


def test_key_is_the_same_again_and_another_for_another_use_run_round_model_or_clinic(tmp_path):
    keys = {key(tmp_path), key(tmp_path)}
    assert len(keys) == 1
    changes = ({"use": "alarm"}, {"run": "run-0002"}, {"round_": 2}, {"model": "c" * 64})
    keys |= {key(tmp_path, **change) for change in changes} | {key(tmp_path / "another")}
    assert len(keys) == 6 and {len(k) for k in keys} == {32}
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_damaged_secret_is_reported_with_the_remedy(tmp_path):
    key(tmp_path)
    (tmp_path / FILE).write_bytes(b"short")
    with pytest.raises(UserError, match=r"has 5 bytes, expected 32\. Remove it"):
        key(tmp_path)
