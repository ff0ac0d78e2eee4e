"""The privacy ledger: counted once, with the same noise when sent again; declined beyond the policy's limits; not reset."""

import numpy as np
import pytest

from embryofl.errors import ProtocolError, UserError
from embryofl.privacy.accountant import composed, epsilon_of
from embryofl.schema import Download
from embryofl.settings import PRIVATE, RunSettings
from embryofl_clinic.policy.rules import Policy
from embryofl_clinic.privacy import ledger as module
from embryofl_clinic.privacy.ledger import LEDGER, NOISE, SEAL, Limits, PrivacyLedger, describe_ledger, spent
from kits.policy import write_policy

UPDATE = np.linspace(-1, 1, 17)
FREE = Limits(0, 0)


def settings(epsilon=8.0, rounds=4):
    return RunSettings(**PRIVATE, rounds=rounds, dp_epsilon=epsilon)


@pytest.fixture
def ask(make_request):
    def make(round_=1, run="run-0001", model="a", epsilon=8.0, rounds=4, **changes):
        size = make_request().model.size
        return make_request(
            run=run,
            round=round_,
            settings=settings(epsilon, rounds),
            model=Download(url="/v1/model/x", size=size, sha256=model * 64),
            **changes,
        )

    return make


def whole_run(ledger, ask, run="run-0001", epsilon=8.0):
    for round_ in range(1, 5):
        ledger.draw(ask(round_, run, epsilon=epsilon), UPDATE, 30, FREE)


def test_all_rounds_of_a_run_spend_its_epsilon_and_two_runs_less_than_both(tmp_path, ask):
    ledger = PrivacyLedger(tmp_path)
    whole_run(ledger, ask)
    assert spent(ledger.read()) == pytest.approx(8, rel=1e-6)
    whole_run(ledger, ask, "run-0002", 3.0)
    mus = [settings(8.0).private_mu] * 4 + [settings(3.0).private_mu] * 4
    assert spent(ledger.read()) == pytest.approx(epsilon_of(composed(mus), 1e-5)) and 8 < spent(ledger.read()) < 11
    words = describe_ledger(ledger.read(), Limits(9, 20))
    assert "run-0001: epsilon 8 in 4 rounds, 30 training patients" in words and "20 allowed" in words


@pytest.mark.parametrize("killed", ["", "before the entry", "before the seal"])
def test_clinic_that_is_killed_makes_the_same_noise_again_and_counts_it_once(tmp_path, ask, monkeypatch, killed):
    ledger = PrivacyLedger(tmp_path)
    ledger.draw(ask(1), UPDATE, 30, FREE)
    if killed:
        write, left = module.write_atomic, {"before the entry": 1, "before the seal": 2}[killed]

        def until_then(*args):
            nonlocal left
            if not left:
                raise KeyboardInterrupt
            left -= 1
            write(*args)

        monkeypatch.setattr(module, "write_atomic", until_then)
        with pytest.raises(KeyboardInterrupt):
            ledger.draw(ask(2), UPDATE, 30, FREE)
        monkeypatch.setattr(module, "write_atomic", write)
        kept = (tmp_path / NOISE).read_text()
        first = ledger.draw(ask(2), UPDATE, 30, FREE)
        assert (tmp_path / NOISE).read_text() == kept
    else:
        first = ledger.draw(ask(2), UPDATE, 30, FREE)
    again = PrivacyLedger(tmp_path).draw(ask(2), UPDATE, 30, FREE)
    assert again == first and len(first) == 32 and len(ledger.read()) == 2
    assert ledger.draw(ask(3), UPDATE, 30, FREE) != first
    assert first.hex() not in (tmp_path / NOISE).read_text()  # the round is over


def test_noise_is_not_drawn_again_for_another_update_model_or_setting(tmp_path, ask):
    """Two updates with the same noise, or one with two, would tell more than was counted."""
    ledger = PrivacyLedger(tmp_path)
    ledger.draw(ask(1), UPDATE, 30, FREE)
    for request, update, words in [
        (ask(1), UPDATE * 1.01, "with other data"),
        (ask(1, model="b"), UPDATE, "with another model"),
        (ask(2, epsilon=9.0), UPDATE, "other settings"),
        (ask(1, rounds=5), UPDATE, "other settings"),
    ]:
        with pytest.raises(ProtocolError, match=words):
            ledger.draw(request, update, 30, FREE)
    ledger.draw(ask(2, model="b"), UPDATE, 30, FREE)
    with pytest.raises(ProtocolError, match="no longer kept"):
        ledger.draw(ask(1), UPDATE, 30, FREE)
    assert len(ledger.read()) == 2


def test_run_beyond_the_limits_is_declined_before_training_with_the_numbers(tmp_path, ask):
    ledger = PrivacyLedger(tmp_path)
    assert "allows 5 (max_epsilon_per_run)" in ledger.reason_to_decline(ask(), Limits(5, 0))
    whole_run(ledger, ask)
    limits = Limits(8, 10)
    assert ledger.reason_to_decline(ask(4), limits) == ""  # the run itself, again
    reason = ledger.reason_to_decline(ask(1, "run-0002", epsilon=6.0), limits)
    assert "from 8 to 10.7" in reason and "allows 10 (max_epsilon_lifetime)" in reason
    assert ledger.reason_to_decline(ask(1, "run-0002", epsilon=2.0), limits) == ""
    with pytest.raises(ProtocolError, match="max_epsilon_lifetime"):
        ledger.draw(ask(1, "run-0002", epsilon=6.0), UPDATE, 30, limits)
    write_policy(tmp_path, max_epsilon_lifetime=10)
    policy = Policy(tmp_path, "quality", "anna")
    assert "from 8 to 10.7" in policy.reason_to_block(ask(1, "run-0002", epsilon=6.0))
    assert policy.reason_to_block(ask(1, "run-0002", epsilon=2.0)) == ""


@pytest.mark.parametrize("rule", [{"require_dp": True}, {"max_epsilon_per_run": 9}, {"max_epsilon_lifetime": 9}])
def test_clinic_with_a_limit_takes_part_in_no_run_without_differential_privacy(tmp_path, ask, make_request, rule):
    write_policy(tmp_path, **rule)
    policy = Policy(tmp_path, "quality", "anna")
    assert "this run has none" in policy.reason_to_block(make_request())
    assert policy.reason_to_block(ask()) == ""


def test_ledger_that_was_lost_shortened_or_is_anothers_is_not_gone_on_with_until_a_person_accepts_it(tmp_path, ask):
    ledger, path = PrivacyLedger(tmp_path / "a"), tmp_path / "a" / LEDGER
    ledger.draw(ask(1), UPDATE, 30, FREE)
    older = path.read_bytes()
    for round_ in (2, 3):
        ledger.draw(ask(round_), UPDATE, 30, FREE)
    whole = path.read_bytes()
    other = PrivacyLedger(tmp_path / "b")
    whole_run(other, ask, "run-0009", 0.1)
    others = (tmp_path / "b" / LEDGER).read_bytes()
    for found in (None, older, others, b"[]", b"["):
        if found is None:
            path.unlink()
        else:
            path.write_bytes(found)
        with pytest.raises(UserError, match="privacy --accept"):
            ledger.draw(ask(4), UPDATE, 30, FREE)
    policy = Policy(tmp_path / "a", "quality", "anna")
    write_policy(tmp_path / "a")
    assert "is not as it was left" in policy.reason_to_block(ask(4))
    path.write_bytes(whole)
    (tmp_path / "a" / SEAL).unlink()  # a new key, in a new folder
    with pytest.raises(UserError, match="no seal by this clinic's key"):
        ledger.read()
    assert len(ledger.accept()) == 3 == len(ledger.read())
    path.unlink()
    assert ledger.accept() == [] == ledger.read()
