"""The version of the hub's state: written, and any other version rejected."""

import sqlite3

import pytest

from embryofl.errors import UserError
from embryofl_server.hub import Hub
from embryofl_server.members.store import ClinicStore
from embryofl_server.settings import HubSettings
from embryofl_server.state.database import VERSION, check_folder


def test_new_store_is_of_the_current_version_and_opens_again(tmp_path):
    path = tmp_path / "clinics.db"
    for _ in range(2):
        ClinicStore(path).close()
        with sqlite3.connect(path) as db:
            assert db.execute("PRAGMA user_version").fetchone()[0] == VERSION


@pytest.mark.parametrize("version", [0, VERSION - 1, VERSION + 1])
def test_other_version_is_rejected_and_left_unchanged(tmp_path, version):
    path = tmp_path / "clinics.db"
    ClinicStore(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    with pytest.raises(UserError, match=f"version {version}. This EmbryoFL reads version {VERSION} only"):
        ClinicStore(path)
    assert path.read_bytes() == before


def test_file_that_is_not_a_database_is_rejected(tmp_path):
    (tmp_path / "clinics.db").write_bytes(b"hello" * 1000)
    with pytest.raises(UserError, match="Restore a backup"):
        ClinicStore(tmp_path / "clinics.db")


def test_state_without_its_database_is_rejected_and_not_recreated(tmp_path):
    state = tmp_path / "hub"
    check_folder(state)
    Hub(HubSettings(state_dir=state)).store.close()
    check_folder(state)
    (state / "audit.jsonl").write_text("{}\n")
    for name in ("clinics.db", "clinics.db-wal", "clinics.db-shm"):
        (state / name).unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"audit.jsonl but no clinics.db"):
        Hub(HubSettings(state_dir=state))
    assert not (state / "clinics.db").exists()
