"""What a person changes in the clinic app is what the file may have, is said before, and is written whole."""

import pytest

from embryofl.errors import UserError
from embryofl.models import model_names
from embryofl_clinic.policy.editing import RULES, changes, digest_of, read_fields, save, typed
from embryofl_clinic.policy.rules import FILE, Rules, load_rules

FIELDS = {name: typed(value) for name, value in Rules().model_dump().items()}


def test_every_rule_is_explained_with_a_sentence_for_each_value():
    assert set(RULES) == set(Rules.model_fields)
    assert read_fields(FIELDS) == Rules()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"min_examples": "10"}, "min_examples allows more: this clinic trains only with 10 training embryos or more."),
        ({"min_examples": "40"}, "min_examples allows less: "),
        ({"models": "lite0"}, "models allows less: this clinic trains no other models than lite0."),
        ({"max_rounds_a_day": "50"}, "max_rounds_a_day allows less: this clinic trains at most 50 rounds a day."),
        (
            {"quiet_hours": "22:00-06:00"},
            "quiet_hours allows less: this clinic neither trains nor evaluates in these hours: 22",
        ),
        ({"require_dp": "true"}, "require_dp allows less: "),
        (
            {"max_epsilon_lifetime": "8.5"},
            "max_epsilon_lifetime allows less: all runs together may spend at most epsilon 8.5,",
        ),
        (
            {"require_secure_aggregation": "false"},
            "require_secure_aggregation allows more: updates leave without masks",
        ),
        ({"min_update_noise": "0.1"}, "min_update_noise allows less: "),
        ({"metrics": "own"}, "metrics allows more: this clinic's exact sums"),
        ({"metrics": "none"}, "metrics allows less: no metrics leave this clinic."),
        ({"max_evaluations": "0"}, "max_evaluations allows more: this clinic answers any number"),
        ({"evaluation_days": "30"}, "evaluation_days allows more: evaluations are counted over 30 days."),
        ({"show_metrics": "true"}, "show_metrics allows more: "),
        ({"peers": "first"}, "peers allows more: "),
        ({"max_share": "1"}, "max_share allows more: this clinic may have at most 1 of the weights of a sum."),
        ({"min_sum": "5"}, "min_sum allows less: no sum with this clinic may have fewer than 5 clinics."),
        ({"min_cell": "3"}, "min_cell allows more: "),
    ],
)
def test_change_is_said_in_a_sentence(change, words):
    (sentence,) = changes(Rules(), read_fields(FIELDS | change))
    assert sentence.startswith(words)
    (back,) = changes(read_fields(FIELDS | change), Rules())
    assert ("allows more" in back) == ("allows less" in sentence)


def test_models_that_are_others_and_hours_that_are_others_are_neither_more_nor_less():
    before, after = (
        Rules(models=[name], quiet_hours=hours)
        for name, hours in zip(model_names()[:2], ("01:00-02:00", "03:00-04:00"), strict=True)
    )
    assert [sentence.split(":")[0] for sentence in changes(before, after)] == ["models changes", "quiet_hours changes"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"min_sum": "2"}, "min_sum must be at least 3, not '2'"),
        ({"max_share": "1.5"}, "max_share must be at most 1"),
        ({"min_examples": "many"}, "min_examples must be a whole number"),
        ({"metrics": "all"}, "metrics must be 'own', 'pooled' or 'none'"),
        ({"quiet_hours": "at night"}, "quiet_hours"),
        ({"min_exmples": "5"}, "did you mean min_examples"),
    ],
)
def test_value_or_rule_that_the_file_may_not_have_is_refused(change, words):
    with pytest.raises(UserError, match="Nothing was saved") as refused:
        read_fields(FIELDS | change)
    assert words in str(refused.value)


def test_saved_rules_are_those_that_were_typed_and_what_was_set_stays_set(tmp_path):
    (tmp_path / FILE).write_text('min_sum = 3 # ours\nquiet_hours = "22:00-06:00"\n')
    rules = read_fields(FIELDS | {"quiet_hours": "", "max_share": "0.123456789", "models": "lite0, small_cnn"})
    save(tmp_path, rules, digest_of(tmp_path))
    assert load_rules(tmp_path).model_dump() == rules.model_dump()
    assert load_rules(tmp_path).model_fields_set == {"min_sum", "quiet_hours", "max_share", "models"}
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", ["\x7f", "a\nmin_sum = 3", 'a"]', "\ud800", "\U0001f600"])
def test_no_text_makes_a_file_that_reads_otherwise(tmp_path, name):
    rules, before = Rules(models=[name]), digest_of(tmp_path)
    try:
        save(tmp_path, rules, before)
    except UserError:
        assert digest_of(tmp_path) == before
    else:
        assert load_rules(tmp_path).model_dump() == rules.model_dump()


def test_file_that_somebody_else_has_changed_meanwhile_is_kept(tmp_path):
    seen = digest_of(tmp_path)
    (tmp_path / FILE).write_text("min_sum = 7\n")
    with pytest.raises(UserError, match="changed by somebody else"):
        save(tmp_path, Rules(), seen)
    assert load_rules(tmp_path).min_sum == 7
