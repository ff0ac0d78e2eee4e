"""Labels of stored states: readable, unique, and a new state is shown as stored."""

import re

from embryofl import states


def test_labels_are_sentence_case_and_unique_within_a_kind():
    for kind in (states.RUN, states.PHASE, states.MEMBER, states.CLINIC, states.INVITE, states.PROCESS):
        assert all(re.fullmatch(r"[A-Z][a-z ]+", label) for label in kind.values())
        assert len(set(kind.values())) == len(kind)


def test_a_state_without_a_label_is_shown_as_stored():
    assert states.label(states.RUN, "running") == "Running" and states.label(states.RUN, "new") == "new"
