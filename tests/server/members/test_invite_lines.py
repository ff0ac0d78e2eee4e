"""The printed commands: no invite code in them, and a container as limited as those of `make up`."""

import shlex

import pytest
import yaml

from embryofl_server.cli.show_members import invite_text
from embryofl_server.members.invite_lines import lines_to_run
from kits.house import ROOT

CODE = "embryofl1.secret"


def test_invite_is_asked_for_and_is_on_no_command_line():
    lines = invite_text("porto", CODE, 0.0, manual=False).splitlines()
    assert lines.count(CODE) == 1 and not any(CODE in line for line in lines if line != CODE)
    assert set(lines_to_run().values()) <= set(lines)
    assert all("EMBRYOFL_INVITE" not in line for line in lines)


@pytest.mark.parametrize("program", ["docker", "podman"])
def test_printed_lines_have_the_limits_of_the_clinics_of_make_up(program):
    run, _, join = lines_to_run()[program].partition(" && ")
    assert join == f"{program} exec -i embryofl embryofl-clinic join"
    service = yaml.safe_load((ROOT / "compose.clinic.yaml").read_text())["services"]["clinic"]
    words = shlex.split(run)
    given = list(zip(words, words[1:], strict=False))
    assert service["read_only"] and "--read-only" in words
    assert [("--cap-drop", name) for name in service["cap_drop"]] == [g for g in given if g[0] == "--cap-drop"]
    assert [("--tmpfs", mount) for mount in service["tmpfs"]] == [g for g in given if g[0] == "--tmpfs"]
    assert ("--pids-limit", str(service["pids_limit"])) in given and "--memory" in words
    assert service["security_opt"] == ["no-new-privileges:true"] and ("--security-opt", "no-new-privileges") in given
