"""Which federation is meant, and what is refused before anything is started."""

import socket

import pytest

from embryofl.errors import UserError
from embryofl_demo.data import choose_place
from embryofl_demo.layout import DemoFolder, base, current
from embryofl_demo.stack import Stack, free_port, port_is_free


@pytest.fixture(autouse=True)
def _base(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBRYOFL_DEMO_DIR", str(tmp_path / "demo"))


def test_no_federation_yet():
    with pytest.raises(UserError, match="make demo"):
        current()


def test_the_one_used_last_is_meant():
    for name in ("synthetic", "other-3"):
        DemoFolder(base() / name).make_current()
        assert current().root == base() / name


def test_each_data_folder_and_number_of_clinics_is_a_federation_of_its_own(tmp_path):
    folder = tmp_path / "My Images!"
    folder.mkdir()
    assert choose_place(None, None) == (DemoFolder(base() / "synthetic"), 3)
    assert choose_place(None, 5) == (DemoFolder(base() / "synthetic"), 5)
    assert choose_place(folder, 4) == (DemoFolder(base() / "my-images-4"), 4)
    assert choose_place(folder, None)[1] == 3


@pytest.mark.parametrize("clinics", [0, -1, 51, 1000])
def test_a_number_of_clinics_that_cannot_be_is_said(clinics):
    with pytest.raises(UserError, match="1 to 50"):
        choose_place(None, clinics)


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(UserError, match="not a folder"):
        choose_place(tmp_path / "nowhere", 3)


def test_a_port_in_use_is_said_with_what_to_do():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not port_is_free(port)
        with pytest.raises(UserError, match=f"Port {port} is in use.*PORT={port + 1}"):
            Stack(DemoFolder(base() / "x"), port)
    assert port_is_free(free_port())
