"""The state's version: migrated, or refused in words, never guessed."""

import json
import sqlite3

import pytest

from embryofl.errors import UserError
from embryofl_server.hub import Hub
from embryofl_server.members.store import ClinicStore
from embryofl_server.settings import HubSettings
from embryofl_server.state.schema import CURRENT, check_folder

VERSION_1 = """
CREATE TABLE invites (
    name TEXT PRIMARY KEY, secret_sha256 TEXT NOT NULL, created REAL NOT NULL, expires REAL NOT NULL, used_by TEXT
);
CREATE TABLE clinics (
    name TEXT PRIMARY KEY, public_key TEXT NOT NULL UNIQUE, state TEXT NOT NULL, enrolled REAL NOT NULL,
    meaning TEXT NOT NULL, summary TEXT NOT NULL
);
"""


def version(path) -> int:
    with sqlite3.connect(path) as db:
        return db.execute("PRAGMA user_version").fetchone()[0]


@pytest.fixture
def old(tmp_path):
    """A database as version 1 wrote it."""
    path = tmp_path / "clinics.db"
    with sqlite3.connect(path) as db:
        db.executescript(VERSION_1)
        summary = json.dumps({"counts": {"5": {"0": 10, "1": 12}}})
        db.execute("INSERT INTO clinics VALUES ('anna', 'key-a', 'enrolled', 5.0, 'quality', ?)", (summary,))
        db.execute("INSERT INTO invites VALUES ('bert', 'x', 1.0, 2.0, NULL)")
    return path


def test_a_new_store_is_of_the_current_version(tmp_path):
    ClinicStore(tmp_path / "clinics.db").close()
    assert version(tmp_path / "clinics.db") == CURRENT


def test_an_older_one_is_brought_up_to_date_and_kept_as_it_was(old):
    store = ClinicStore(old)
    clinic = store.clinics()["anna"]
    assert (clinic.state, clinic.enrolled, clinic.labelled, clinic.reason) == ("enrolled", 5.0, 22, "")
    store.set_state("anna", "suspended", "because")
    assert store.clinics()["anna"].reason == "because"
    store.note_answers("run-0001", 1, [], {"anna": ("norm", "too long")})
    assert store.refusals_in_a_row("anna") == 1
    store.close()
    assert version(old) == CURRENT
    kept = old.with_name("clinics.v1.db")
    assert kept.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(kept) as db:
        assert db.execute("SELECT name, state FROM clinics").fetchall() == [("anna", "enrolled")]
        assert db.execute("SELECT name FROM invites").fetchall() == [("bert",)]
    ClinicStore(old).close()  # and again: nothing more to do


def test_a_migration_that_is_cut_off_leaves_the_old_version_whole(old, monkeypatch):
    from embryofl_server.state import schema

    def cut(db):
        schema._to_2(db)
        raise SystemExit("power cut")

    monkeypatch.setitem(schema._STEPS, 1, cut)
    with pytest.raises(SystemExit):
        ClinicStore(old)
    monkeypatch.undo()
    with sqlite3.connect(old) as db:
        assert "reason" not in [row[1] for row in db.execute("PRAGMA table_info(clinics)")]
    ClinicStore(old).close()
    assert version(old) == CURRENT


def test_a_newer_one_is_refused_and_not_touched(tmp_path):
    path = tmp_path / "clinics.db"
    ClinicStore(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {CURRENT + 1}")
    before = path.read_bytes()
    with pytest.raises(UserError, match=f"version {CURRENT + 1}.*up to {CURRENT}"):
        ClinicStore(path)
    assert path.read_bytes() == before


def test_what_is_no_database_is_refused(tmp_path):
    (tmp_path / "clinics.db").write_bytes(b"hello" * 1000)
    with pytest.raises(UserError, match="restore a backup"):
        ClinicStore(tmp_path / "clinics.db")


def test_a_state_without_its_database_is_refused_and_not_begun_anew(tmp_path):
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
