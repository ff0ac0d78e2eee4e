"""The choice of the federation, and what is rejected before anything is started."""

import socket

import pytest

from embryofl.errors import UserError
from embryofl_demo.data import choose_demo
from embryofl_demo.layout import DemoFolder, base, current
from embryofl_demo.stack import Stack, free_port, port_is_free


@pytest.fixture(autouse=True)
def _base(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBRYOFL_DEMO_DIR", str(tmp_path / "demo"))


def chosen(data, clinics):
    """Name of the federation's folder and number of clinics."""
    demo, names = choose_demo(data, clinics)
    assert demo.root.parent == base() and names == [f"clinic-{i + 1}" for i in range(len(names))]
    return demo.root.name, len(names)


def test_missing_federation_is_reported_with_the_command_that_starts_one():
    with pytest.raises(UserError, match="make demo"):
        current()


def test_commands_use_the_federation_used_last():
    for name in ("synthetic", "other-3"):
        DemoFolder(base() / name).make_current()
        assert current().root == base() / name


def test_each_data_folder_and_number_of_clinics_has_its_own_federation(tmp_path):
    folder = tmp_path / "My Images!"
    folder.mkdir()
    assert chosen(None, None) == ("synthetic", 3)
    assert chosen(None, 5) == ("synthetic", 5)
    assert chosen(folder, 4) == ("my-images-4", 4)
    assert chosen(folder, None) == ("my-images-3", 3)


@pytest.mark.parametrize("clinics", [0, -1, 51, 1000])
def test_number_of_clinics_out_of_range_is_rejected(clinics):
    with pytest.raises(UserError, match="1 to 50"):
        choose_demo(None, clinics)


def test_missing_data_folder_is_rejected(tmp_path):
    with pytest.raises(UserError, match="not a folder"):
        choose_demo(tmp_path / "nowhere", 3)


def test_port_in_use_is_rejected_with_another_one_to_try():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not port_is_free(port)
        with pytest.raises(UserError, match=f"Port {port} is in use.*PORT={port + 1}"):
            Stack(DemoFolder(base() / "x"), port)
    assert port_is_free(free_port())
