"""Approval by hand, and the line for a plain process as it is printed: both on real processes."""

import os
import signal
import subprocess
from pathlib import Path

from federation_kit import Federation, draw_clinic, until

from embryofl_demo.stack import hub_environment, program


def test_with_the_printed_line_a_clinic_joins_waits_until_it_is_approved_and_then_takes_part(
    tmp_path, monkeypatch, _environment
):
    monkeypatch.setenv("EMBRYOFL_APPROVAL", "manual")
    federation = Federation(tmp_path / "approval")
    data, state = draw_clinic(tmp_path / "images", "lisbon"), tmp_path / "state"

    def hub(*words: str) -> str:
        done = subprocess.run(
            [program("embryofl-server"), *words], env={**os.environ, **hub_environment(federation.place)},
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        return done.stdout

    clinic = None
    try:
        federation.stack.start_hub()
        sent = hub("invite", "lisbon")
        assert "embryofl-server approve lisbon" in sent
        line = next(x for x in sent.splitlines() if x.startswith("EMBRYOFL_INVITE="))
        line = line.replace("/PATH/TO/IMAGES", str(data)).replace("--state embryofl-state", f"--state {state}")
        path = f"{Path(program('embryofl-clinic')).parent}:{os.environ['PATH']}"
        with (tmp_path / "log").open("wb") as log:
            clinic = subprocess.Popen(
                ["bash", "-c", f"exec env {line}"],
                env={**os.environ, "PATH": path},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until("it waits", lambda: federation.status()["to_approve"] == ["lisbon"])
        until("it says so", lambda: "still has to approve" in (tmp_path / "log").read_text())
        assert "lisbon" not in federation.status()["clinics"] and "Waiting for your approval: lisbon" in hub("status")
        assert "belongs to the federation" in hub("approve", "lisbon")
        until("it is there", lambda: federation.status()["clinics"]["lisbon"]["state"] == "online")
        run = federation.run(rounds=1, min_clinics=1)
        assert federation.records(run.name)[1]["clinics"].keys() == {"lisbon"}
    finally:
        if clinic is not None:
            os.killpg(clinic.pid, signal.SIGKILL)
            clinic.wait()
        federation.stack.stop()
