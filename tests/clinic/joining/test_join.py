"""How a clinic gets its invite code: pasted, or in a file that is gone after joining; and how the trainer waits for it."""

import io
import threading

import pytest

from embryofl.errors import UserError
from embryofl.invite import Invite
from embryofl_clinic.joining import join
from embryofl_clinic.joining.identity import ClinicIdentity, JoinedHub
from embryofl_clinic.settings import ClinicSettings

INVITE = Invite(hubs=["localhost:8443"], ca="-", server_name="hub.embryofl.internal", name="lisbon", secret="s")


@pytest.fixture
def typed(monkeypatch):
    """Give a text as standard input."""
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_invite_code_is_pasted(tmp_path, typed, capsys):
    settings = ClinicSettings(state_dir=tmp_path)
    typed(f"  {INVITE.code()}  \nmore\n")
    assert join.read_invite(settings, prompt=True) == INVITE
    out, error = capsys.readouterr()
    assert error.startswith("Paste the invite code") and out == ""
    typed("")
    assert join.read_invite(settings, prompt=False) is None
    assert capsys.readouterr() == ("", "")  # nobody is there to be asked
    typed("embryofl1.cut")
    with pytest.raises(UserError, match="not a complete invite code"):
        join.read_invite(settings, prompt=False)


def test_invite_file_comes_first(tmp_path, typed):
    (tmp_path / "invite").write_text(INVITE.code())
    typed("something else")
    settings = ClinicSettings(state_dir=tmp_path, invite_file=tmp_path / "invite")
    assert join.read_invite(settings, prompt=True) == INVITE


def test_invite_code_is_in_no_environment_variable(tmp_path, monkeypatch, typed):
    monkeypatch.setenv("EMBRYOFL_INVITE", INVITE.code())
    typed("")
    assert join.read_invite(ClinicSettings(state_dir=tmp_path), prompt=False) is None


def test_trainer_without_an_invite_waits_for_the_command_that_joins(tmp_path, typed, monkeypatch):
    typed("")
    identity, hub = ClinicIdentity(tmp_path), JoinedHub(**INVITE.model_dump(exclude={"secret"}))
    waits = []

    class Stop(threading.Event):
        def wait(self, timeout=None) -> bool:
            waits.append(timeout)
            if len(waits) == 2:
                ClinicIdentity(tmp_path).remember(hub)  # another process
            return False

    monkeypatch.setattr(join, "stop_on_signals", Stop)
    assert join.first_join(ClinicSettings(state_dir=tmp_path), identity) == hub and len(waits) == 2
