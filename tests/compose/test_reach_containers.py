"""A clinic on its own network, which has only a public address of the hub, joins with the printed command.

The tunnel is the container of `make up NGROK=1` with a stand-in for ngrok's agent. Only the tunnel's public end is on the
clinic's network.
"""

import json
import os
import sys
from pathlib import Path

import pytest

from kits import KITS
from kits.containers import PROJECT, run, trained, until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1500)]

TOKEN = "2containersTOKEN_abc"
NETWORK, CLINIC = f"{PROJECT}-far", f"{PROJECT}-far-clinic"


def test_clinic_on_its_own_network_joins_through_the_tunnel_and_takes_part(federation, tmp_path):
    agent = KITS / "ngrok_agent.py"
    federation.environment |= {"NGROK_AUTHTOKEN": TOKEN, "NGROK_AGENT": str(agent), "NGROK_REMOTE_ADDR": "tunnel:20443"}
    # With one minimum clinic, the run does not wait for clinics that other tests have removed.
    words = federation.up({"min_clinics": 1}, NGROK=1)
    assert "Remote access at tunnel:20443" in words and TOKEN not in words
    federation.finished()
    data = tmp_path / "images"
    data.mkdir()
    run(
        str(Path(sys.executable).parent / "embryofl-datagen"),
        "generate",
        str(data),
        "--only",
        "8",
        "--clinics",
        "9",
        "--images",
        "60",
    )
    data.chmod(0o755)
    sent = federation.hub("invite", "far").splitlines()
    line = next(x for x in sent if x.startswith("docker run"))
    code = next(x for x in sent if x.startswith("embryofl1."))
    line = line.replace("/PATH/TO/IMAGES", str(data)).replace("--name embryofl", f"--name {CLINIC} --network {NETWORK}")
    line = line.replace("embryofl-state:", f"{CLINIC}:").replace("exec -i embryofl", f"exec -i {CLINIC}")
    run("docker", "network", "create", "--internal", NETWORK)
    try:
        run("docker", "network", "connect", "--alias", "tunnel", NETWORK, federation.container("tunnel"))
        shown = run("bash", "-c", line, stdin=code)
        assert "This is sent to the hub now" in shown and "Joined as far" in shown
        details = run("docker", "inspect", CLINIC)
        limits = json.loads(details)[0]["HostConfig"]
        assert code not in details and "embryofl1." not in details
        assert limits["ReadonlyRootfs"] and limits["CapDrop"] == ["ALL"] and limits["PidsLimit"] == 512
        assert limits["SecurityOpt"] == ["no-new-privileges"] and limits["Memory"] == 4 << 30
        assert code not in run(
            "docker", "exec", CLINIC, "sh", "-c", "cat /state/* /state/identity/* 2>/dev/null", ok=False
        )
        until("far awaits approval", lambda: federation.status()["to_approve"] == ["far"])
        federation.hub("approve", "far")
        until("far is online", lambda: federation.status()["clinics"].get("far", {}).get("state") == "online")
        assert "gateway" not in run("docker", "exec", CLINIC, "cat", "/etc/hosts")
        rules = "/opt/venv/lib/python3.11/site-packages/embryofl_clinic/policy/one_owner.toml"
        run("docker", "exec", CLINIC, "cp", rules, "/state/policy.toml")  # a run of one clinic has no masks
        federation.start(min_clinics=1)
        assert "far" in trained(federation.finished(), 1)
        everything = federation.containers()
        assert TOKEN in json.dumps(everything.pop("tunnel")) and TOKEN not in json.dumps(everything)
        assert TOKEN not in federation.make("logs") + run("ps", "-eo", "args")
    finally:
        print(run("docker", "logs", CLINIC, ok=False))
        run("docker", "rm", "-f", CLINIC, ok=False)
        run("docker", "network", "disconnect", "-f", NETWORK, federation.container("tunnel"), ok=False)
        run("docker", "network", "rm", NETWORK, ok=False)
        run("docker", "volume", "rm", CLINIC, ok=False)
        federation.hub("revoke", "far")
        federation.up(NGROK=0)
        run("docker", "rm", "-f", federation.container("tunnel"), ok=False)
        for name in ("NGROK_AUTHTOKEN", "NGROK_AGENT", "NGROK_REMOTE_ADDR"):
            federation.environment.pop(name)
            os.environ.pop(name, None)
