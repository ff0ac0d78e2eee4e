"""What an open page of the console costs the hub: processor time of one look at the state, 50 clinics, a run of 100 rounds.

Usage: .embryofl/venv/bin/python bench/console.py [CLINICS]. In one process, without a SuperLink (its presence is asked
for at most every 2 s in any case); a look a second is what open pages cost together, however many there are.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "server"))

from cryptography.hazmat.primitives.asymmetric import ec
from enrolment_kit import openssh
from fastapi import FastAPI
from fastapi.testclient import TestClient

from embryofl.messages import run_settings
from embryofl_server import api_console
from embryofl_server.hub import HubService
from embryofl_server.settings import HubSettings

LOOKS, ROUNDS = 50, 100


def main() -> None:
    """Measure and print."""
    clinics = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    with tempfile.TemporaryDirectory() as folder:
        hub = HubService(HubSettings(state_dir=Path(folder)))
        names = [f"clinic-{i}" for i in range(clinics)]
        for name in names:
            key = openssh(ec.generate_private_key(ec.SECP256R1()))
            counts = {"counts": {"5": {"0": 100, "1": 100}}, "patients": 50}
            hub.store.enrol(name, hub.store.invite(name, 7), key, "quality", counts, "enrolled")
        run = hub.runs.create(run_settings({"min_clinics": clinics}))
        run.set_state("finished", ROUNDS)
        line = {"split": "validation", "day": None, "auroc": 0.8, "auroc_se": 0.02, "loss": 0.5, "n": 40}
        run.add_metrics([{**line, "round": r, "clinic": c} for r in range(ROUNDS) for c in [*names, "pooled"]])
        hub.presence = lambda: dict.fromkeys(names, True)  # type: ignore[method-assign]
        app = FastAPI()
        app.include_router(api_console.routes(hub))
        client = TestClient(app)
        first = client.get("/control/state")
        tag = first.headers["etag"]
        client.get("/control/state", headers={"If-None-Match": tag})
        began = time.process_time()
        codes = [client.get("/control/state", headers={"If-None-Match": tag}).status_code for _ in range(LOOKS)]
        each = (time.process_time() - began) / LOOKS
        print(
            f"{clinics} clinics: {len(first.content) / 1e3:.0f} kB of state; a look takes {1e3 * each:.1f} ms, "
            f"{100 * each:.1f} % of a core at one a second; {codes.count(304)} of {LOOKS} unchanged"
        )


if __name__ == "__main__":
    main()
