"""A file has either its old content or all of its new content, whatever happens."""

import errno
import os
from pathlib import Path

import pytest

from embryofl import files
from embryofl.errors import UserError
from embryofl.files import atomic, sha256_of, write_atomic


def test_write_replaces_the_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "deep" / "state.json"
    write_atomic(path, b"old")
    write_atomic(path, memoryview(b"new"), mode=0o600)
    assert path.read_bytes() == b"new" and os.listdir(path.parent) == ["state.json"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert sha256_of(path) == "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437"


def test_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a"
    write_atomic(path, b"old")
    with pytest.raises(ZeroDivisionError), atomic(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_full_disk_is_reported_and_loses_nothing(tmp_path, monkeypatch, step):
    path = tmp_path / "a"
    write_atomic(path, b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((files.os, "fsync", full) if step == "fsync" else (Path, "replace", full)))
    with pytest.raises(UserError, match="No space left") as caught:
        write_atomic(path, b"new")
    assert str(tmp_path) in str(caught.value)
    monkeypatch.undo()
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


def test_other_errors_are_raised_unchanged(tmp_path, monkeypatch):
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files.os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        write_atomic(tmp_path / "a", b"new")
    assert os.listdir(tmp_path) == []
