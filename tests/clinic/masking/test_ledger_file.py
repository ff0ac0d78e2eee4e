"""What a clinic has confirmed survives its restart, a kill while it is written, and a full disk."""

import resource

import pytest

from embryofl.errors import ProtocolError, UserError
from embryofl.secagg.ledger import Confirmation
from embryofl_clinic.masking.ledger_file import FILE, LedgerFile


def confirmation(round_=1, survivors=("anna", "bert", "cleo")):
    one = f"{round_:064x}"
    fields = {"terms": "a" * 64, "work": "b" * 64, "model": one, "update": one, "weights": (1, 2, 3)}
    return Confirmation(run="r", round=round_, kind="train", survivors=survivors, **fields)


def lines(folder):
    return (folder / FILE).read_bytes().splitlines()


def test_other_sum_of_a_confirmed_round_is_rejected_after_a_restart(tmp_path):
    LedgerFile(tmp_path).confirm(confirmation())
    ledger = LedgerFile(tmp_path)
    ledger.confirm(confirmation())
    with pytest.raises(ProtocolError, match="confirmed before with other clinics"):
        ledger.confirm(confirmation(survivors=("anna", "bert", "dora")))
    assert len(lines(tmp_path)) == 1


def test_two_trainers_on_one_state_folder_have_one_ledger(tmp_path):
    one, other = LedgerFile(tmp_path), LedgerFile(tmp_path)
    one.confirm(confirmation())
    with pytest.raises(ProtocolError, match="confirmed before with other clinics"):
        other.confirm(confirmation(survivors=("anna", "bert", "dora")))


def test_line_that_was_cut_off_is_removed_and_the_next_one_is_whole(tmp_path):
    LedgerFile(tmp_path).confirm(confirmation())
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"run": "r", "rou')
    LedgerFile(tmp_path).confirm(confirmation(2))
    assert len(lines(tmp_path)) == 2
    assert LedgerFile(tmp_path).read().has("r", f"{2:064x}")


def test_disk_that_is_full_in_the_middle_of_a_line_leaves_none_of_it(tmp_path):
    ledger = LedgerFile(tmp_path)
    ledger.confirm(confirmation())
    before, limits = lines(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / FILE).stat().st_size + 20, limits[1]))
    try:
        with pytest.raises(OSError, match="part of a line"):
            ledger.confirm(confirmation(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert lines(tmp_path) == before
    ledger.confirm(confirmation(2))
    assert len(lines(tmp_path)) == 2


def test_ledger_that_is_damaged_or_gone_is_not_taken_for_an_empty_one(tmp_path):
    LedgerFile(tmp_path).confirm(confirmation())
    (tmp_path / FILE).write_bytes(b"nothing\n")
    with pytest.raises(UserError, match="no round with masks has this clinic"):
        LedgerFile(tmp_path).read()
    (tmp_path / FILE).unlink()
    for step in (LedgerFile(tmp_path).read, lambda: LedgerFile(tmp_path).confirm(confirmation(2))):
        with pytest.raises(UserError, match="is gone.* no round with masks has this clinic"):
            step()
