"""Which programs a hub works with."""

import pytest

from embryofl import protocol
from embryofl.protocol import Program, why_not, why_not_message


@pytest.fixture(autouse=True)
def hub_of_protocol_5(monkeypatch):
    monkeypatch.setattr(protocol, "PROTOCOL", 5)
    monkeypatch.setattr(protocol, "OLDEST", 4)


@pytest.mark.parametrize("number", [4, 5])
def test_hub_works_with_its_own_protocol_and_the_one_before(number):
    assert why_not(Program(version="1.2.3", protocol=number)) == ""


@pytest.mark.parametrize(("number", "text"), [(3, "The clinic's is too old: start"), (6, "The hub's is too old: ask")])
def test_other_protocols_are_named_with_what_to_do(number, text):
    why = why_not(Program(version="1.2.3", protocol=number))
    assert why.startswith(f"The clinic runs version 1.2.3 (protocol {number}), the hub ") and text in why
    assert "(protocols 4 to 5)" in why


def test_message_of_any_form_says_what_its_clinic_runs():
    assert "too old" in why_not_message({"program": {"version": "9.0", "protocol": 9}, "something": "new"})
    for message in ({}, [], None, {"program": 9}, {"program": {"version": "5", "protocol": 5}}):
        assert why_not_message(message) == ""
