"""Manual approval, and the printed command that starts a clinic without a container, on real processes."""

import json
import os
import signal
import ssl
import subprocess
from pathlib import Path

import httpx

from embryofl.protocol import our_program
from embryofl_demo.stack import program
from kits.enrolment import SUMMARY
from kits.federation import Federation, draw_clinic, until
from kits.policy import write_policy


def assert_guessing_is_slowed_down(federation: Federation) -> None:
    """Through the gateway, where clients cannot forge their address; enrolled clinics are not affected."""
    body = {"name": "porto", "secret": "x" * 32, "public_key": "k", "proof": "00", "summary": SUMMARY}
    body = json.dumps(body | {"program": our_program().model_dump()})
    context = ssl.create_default_context(cafile=str(federation.ca))

    def ask(number: int) -> int:
        headers = {"X-Forwarded-For": f"203.0.113.{number}", "Content-Type": "application/json"}
        return httpx.post(
            f"https://localhost:{federation.port}/v1/enrol", content=body, headers=headers, verify=context
        ).status_code

    assert [ask(n) for n in range(25)] == [403] * 20 + [503] * 5
    assert federation.status()["clinics"]["lisbon"]["state"] == "online"


def test_clinic_joins_with_the_printed_command_and_takes_part_once_approved(tmp_path, monkeypatch, _environment):
    monkeypatch.setenv("EMBRYOFL_APPROVAL", "manual")
    federation = Federation(tmp_path / "approval")
    data, state = draw_clinic(tmp_path / "images", "lisbon"), tmp_path / "state"

    def hub(*words: str) -> str:
        done = federation.hub(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    clinic = None
    try:
        federation.stack.start_hub()
        sent = hub("invite", "lisbon")
        assert "embryofl-server approve lisbon" in sent
        line = next(x for x in sent.splitlines() if x.startswith("embryofl-clinic run"))
        code = next(x for x in sent.splitlines() if x.startswith("embryofl1."))
        line = line.replace("/PATH/TO/IMAGES", str(data)).replace("--state embryofl-state", f"--state {state}")
        path = f"{Path(program('embryofl-clinic')).parent}:{os.environ['PATH']}"
        with (tmp_path / "log").open("wb") as log:
            clinic = subprocess.Popen(
                ["bash", "-c", f"exec env {line}"],
                stdin=subprocess.PIPE,
                env={**os.environ, "PATH": path},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        clinic.stdin.write(f"{code}\n".encode())
        clinic.stdin.flush()
        until("lisbon awaits approval", lambda: federation.status()["to_approve"] == ["lisbon"])
        until("its log says so", lambda: "still has to approve" in (tmp_path / "log").read_text())
        assert "lisbon" not in federation.status()["clinics"] and "Awaiting approval: lisbon" in hub("status")
        assert "lisbon is enrolled" in hub("approve", "lisbon")
        until("lisbon is online", lambda: federation.status()["clinics"]["lisbon"]["state"] == "online")
        write_policy(state)  # a run of one clinic has no masks
        run = federation.run(rounds=1, min_clinics=1)
        assert federation.records(run.name)[1]["clinics"].keys() == {"lisbon"}
        assert_guessing_is_slowed_down(federation)
    finally:
        if clinic is not None:
            os.killpg(clinic.pid, signal.SIGKILL)
            clinic.wait()
        federation.stack.stop()
