"""The ledger: a round has one sum, and so has a vector; each confirmation is kept before it is signed."""

import pytest

from embryofl.errors import ProtocolError
from embryofl.secagg.ledger import Confirmation, Ledger
from kits.secagg import Attempt, new_ledger, revised, updates_of, zeros

FIRST = Confirmation(
    run="run-0001",
    round=7,
    kind="train",
    terms="ef" * 32,
    model="01" * 32,
    work="02" * 32,
    survivors=("a", "b", "c"),
    weights=(1, 2, 3),
    update="ab" * 32,
)
OTHER_SUM = {"survivors": ("a", "b", "d")}, {"weights": (1, 2, 4)}, {"work": "cd" * 32}
OTHERS = *OTHER_SUM, {"update": "cd" * 32}, {"terms": "cd" * 32}


def test_the_same_confirmation_again_is_accepted_and_kept_once():
    kept = []
    ledger = Ledger(kept.append)
    for _ in range(3):
        ledger.confirm(FIRST)
    assert kept == [FIRST]


@pytest.mark.parametrize("change", OTHERS)
@pytest.mark.parametrize("restarted", [False, True])
def test_another_sum_for_a_round_is_rejected_also_after_a_restart(change, restarted):
    kept = []
    ledger = Ledger(kept.append)
    ledger.confirm(FIRST)
    if restarted:
        ledger = Ledger(kept.append, [Confirmation.model_validate_json(c.model_dump_json()) for c in kept])
    with pytest.raises(ProtocolError, match="round 7 of run-0001 was confirmed before .*difference of two sums"):
        ledger.confirm(revised(FIRST, **change))
    assert kept == [FIRST]


def test_second_sum_on_other_terms_is_rejected_also_where_the_clinics_own_vector_is_the_same():
    """Settings that change the updates of some clinics only, such as the weight of grades that the others do not have: the
    difference of the two sums would be the change of those clinics' updates."""
    first = Attempt(zeros(3))
    first.run()
    second = Attempt(zeros(3), ledgers=first.ledgers, attempt=2, work="00" * 32)
    with pytest.raises(ProtocolError, match="round 7 of run-0001 was confirmed before with other settings"):
        second.run()


def test_the_same_counts_may_be_in_sums_over_other_clinics():
    """A clinic that withholds all of its counts has the same ones in every run."""
    ledger = new_ledger()
    for number, clinics in enumerate([("a", "b", "c"), ("a", "b", "d")]):
        fresh = {"run": f"run-{number}", "model": f"{number:064x}", "work": f"{number:064x}", "survivors": clinics}
        ledger.confirm(revised(FIRST, kind="evaluate", **fresh))
    ledger.confirm(revised(FIRST, survivors=("a", "c", "d")))


def test_other_models_have_sums_of_their_own():
    ledger = new_ledger()
    ledger.confirm(FIRST)
    for number, change in enumerate([{"round": 8}, {"run": "run-0002"}, {"kind": "evaluate"}]):
        fresh = {"model": f"{number:064x}", "update": f"{number:064x}"}
        ledger.confirm(revised(FIRST, survivors=("a", "c", "d"), **fresh, **change))


@pytest.mark.parametrize("what", ["model", "update"])
@pytest.mark.parametrize("change", OTHER_SUM)
def test_updates_to_one_model_have_one_sum_in_whatever_round_and_so_has_an_update(change, what):
    """A run that is repeated with the same seed gives the same updates, and a round after a void one almost the same."""
    ledger = new_ledger()
    ledger.confirm(FIRST)
    other = "update" if what == "model" else "model"
    ledger.confirm(revised(FIRST, run="run-0002", **{other: "cd" * 32}))
    with pytest.raises(ProtocolError, match=f"same {what} .* confirmed before, in round 7 of run-0001"):
        ledger.confirm(revised(FIRST, round=8, **{other: "ef" * 32}, **change))


@pytest.mark.parametrize("where", [{"run": "run-0002"}, {"round": 8}])
def test_hub_cannot_take_the_sum_again_without_one_clinic(where):
    """The difference would be that clinic's update, from a vector that another share of the weights has scaled."""
    updates, weights = updates_of(4, 500)
    first = Attempt(updates, weights)
    first.run()
    three = {name: updates[name] for name in sorted(updates)[:3]}
    with pytest.raises(ProtocolError, match="updates to the same model were confirmed before, .* with other clinics"):
        Attempt(three, weights, first.ledgers, **where).run()
    with pytest.raises(ProtocolError, match="with other weights"):
        Attempt(updates, {name: w + 1 for name, w in weights.items()}, first.ledgers, **where).run()


def test_nothing_is_signed_that_was_not_kept():
    """A full disk: the clinic would have confirmed what it does not remember after a restart."""

    def keep(confirmation):
        raise OSError("disk full")

    attempt = Attempt(zeros(3))
    attempt.ledgers["clinic-01"] = Ledger(keep)
    attempt.clinics["clinic-01"] = attempt.session("clinic-01")
    statement = attempt.until_statement()
    with pytest.raises(OSError, match="disk full"):
        attempt.clinics["clinic-01"].confirm(statement)
    with pytest.raises(ProtocolError, match="another statement than this clinic has confirmed"):
        attempt.clinics["clinic-01"].reveal(statement, {})


def test_round_repeated_with_new_keys_gives_the_same_bits_or_nothing():
    """Before and after a kill of the hub: the same clinics with the same updates, or no second sum."""
    updates, weights = updates_of(4, 500)
    first = Attempt(updates, weights)
    total = first.run(late=["clinic-04"])
    again = Attempt(updates, weights, first.ledgers, attempt=2)
    assert again.run(late=["clinic-04"]).tobytes() == total.tobytes()
    with pytest.raises(ProtocolError, match="with other clinics"):
        Attempt(updates, weights, first.ledgers, attempt=3).run()
    changed = {name: update + 1e-3 for name, update in updates.items()}
    with pytest.raises(ProtocolError, match="with another update"):
        Attempt(changed, weights, first.ledgers, attempt=4).run(late=["clinic-04"])
