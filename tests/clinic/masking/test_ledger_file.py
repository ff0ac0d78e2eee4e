"""What a clinic has confirmed survives its restart, and a kill while it is written."""

import pytest

from embryofl.errors import ProtocolError, UserError
from embryofl.secagg.ledger import Confirmation
from embryofl_clinic.masking.ledger_file import FILE, open_ledger


def confirmation(round_=1, survivors=("anna", "bert", "cleo")):
    vector = f"{round_:064x}"
    return Confirmation(run="r", round=round_, kind="train", terms="a" * 64, survivors=survivors, vector=vector)


def test_other_sum_of_a_confirmed_round_is_rejected_after_a_restart(tmp_path):
    open_ledger(tmp_path).confirm(confirmation())
    ledger = open_ledger(tmp_path)
    ledger.confirm(confirmation())
    with pytest.raises(ProtocolError, match="confirmed before with other clinics"):
        ledger.confirm(confirmation(survivors=("anna", "bert", "dora")))
    assert len((tmp_path / FILE).read_bytes().splitlines()) == 1


def test_line_that_was_cut_off_is_removed_and_the_next_one_is_whole(tmp_path):
    open_ledger(tmp_path).confirm(confirmation())
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"run": "r", "rou')
    open_ledger(tmp_path).confirm(confirmation(2))
    assert len((tmp_path / FILE).read_bytes().splitlines()) == 2
    open_ledger(tmp_path)


def test_damaged_ledger_is_not_taken_for_an_empty_one(tmp_path):
    open_ledger(tmp_path).confirm(confirmation())
    (tmp_path / FILE).write_bytes(b"nothing\n")
    with pytest.raises(UserError, match="takes part in no round with masks"):
        open_ledger(tmp_path)
