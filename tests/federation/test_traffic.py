"""What crosses the wire: all traffic of a clinic from its enrolment to the end of a run is recorded and searched."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from kits import KITS
from kits.federation import SETTINGS, draw_clinic, until
from kits.leak_scanner import Secrets
from kits.recording_proxy import RecordingProxy

SIZES = (SETTINGS["image_size"], 96)


def scores_of(weights: Path, data: Path, cache: Path) -> np.ndarray:
    """Scores of all the clinic's labelled embryos under the model in `weights`."""
    from embryofl import packing, task
    from embryofl.models.zoo import create_model
    from embryofl_data.dataset import load_clinic_data

    model = create_model("small_cnn")
    packed = np.fromfile(weights, np.uint8)
    packing.load(packed, packing.layout_of(model.state_dict()), model.state_dict())
    clinic_data = load_clinic_data(data, cache, SETTINGS["image_size"])
    return np.concatenate([task.predict(model, getattr(clinic_data, s)) for s in ("train", "validation", "test")])


def secrets_of(federation, clinic: str, run: str, cache: Path) -> Secrets:
    secrets = Secrets.of_folder(federation.place.data(clinic), SIZES)
    models = sorted((federation.place.hub / "weights" / run).glob("round-*.safetensors"))
    assert len(models) >= 2
    for weights in models:
        secrets.add_scores(scores_of(weights, federation.place.data(clinic), cache))
    return secrets


def test_nothing_private_leaves_a_clinic_during_a_run(federation, reference, tmp_path):
    proxy = federation.proxy
    targets = [target for _, target in proxy.requests]
    # the recording covers the whole run: enrolment, messages, weights in both directions
    assert targets[0] == "/v1/enrol"
    assert (
        sum(t.startswith("/v1/update/") for t in targets) >= 4 and sum(t.startswith("/v1/model/") for t in targets) >= 5
    )
    recorded = proxy.everything()
    model_bytes = (reference / "model.safetensors").stat().st_size
    assert len(recorded) > 9 * model_bytes
    assert (reference / "model.safetensors").read_bytes() in recorded
    secrets = secrets_of(federation, "clinic-1", reference.name, tmp_path)
    assert all(len(n) >= 50 for n in secrets.needles.values())
    assert secrets.found_in(recorded) == {}


def test_nothing_private_leaves_a_clinic_during_a_run_with_masks(federation, tmp_path):
    run = federation.run(rounds=2, secure_aggregation="required", seed=77)
    assert any(target.startswith("/v1/step/") for _, target in federation.proxy.requests)
    secrets = secrets_of(federation, "clinic-1", run.name, tmp_path)
    assert secrets.found_in(federation.proxy.everything()) == {}


def test_traffic_contains_no_private_key_and_no_control_token(federation, reference):
    recorded = federation.proxy.everything()
    key = (federation.place.clinic("clinic-1") / "identity" / "clinic.key").read_bytes()
    token = (federation.place.hub / "identity" / "control.token").read_bytes()
    url_key = (federation.place.hub / "identity" / "url.key").read_bytes()
    for secret in (key.splitlines()[1], token, token.hex().encode(), url_key):
        assert secret not in recorded


def test_clinic_never_requests_code(federation, reference):
    calls = {
        target.split("?")[0].rsplit("/", 1)[0] if "/fleet/" not in target else target
        for _, target in federation.proxy.requests
    }
    fleet = {c for c in calls if c.startswith("/v1/fleet/")}
    assert "/v1/fleet/get-fab" not in fleet and "/v1/fleet/get-run" not in fleet
    assert {"/v1/fleet/pull-messages", "/v1/fleet/push-messages"} <= fleet
    assert all(c == "/v1" or c.startswith(("/v1/fleet/", "/v1/model/", "/v1/step", "/v1/update")) for c in calls)


def test_leak_is_found_by_the_same_scanner(federation, reference, tmp_path):
    """On the traffic of a clinic that leaks on purpose, the same scanner finds each kind of secret."""
    gateway = federation.place.hub / "identity" / "gateway"
    identity = federation.place.clinic("leaky") / "identity"
    proxy = RecordingProxy(gateway / "gateway.crt", gateway / "gateway.key", federation.ca, federation.port, identity)
    federation.stack.via["leaky"] = proxy.port
    draw_clinic(federation.place.data("leaky"), "leaky-SECRET")
    entry = KITS / "leaky_clinic.py"
    try:
        federation.join(["leaky"], [sys.executable, str(entry)])
        until("the leaky clinic is connected", lambda: "connected to" in federation.log("leaky"))
        name = federation.start_run(rounds=1, min_clinics=4, quorum=1)
        run = federation.wait_over(name)
        assert run["state"] == "finished", (run["reason"], federation.logs())
        refused = federation.events(name, "refused")
        assert {(e["clinic"], e["reason"]) for e in refused} >= {
            ("leaky", "malformed")
        }  # the gate rejected its replies, too
        secrets = secrets_of(federation, "leaky", name, tmp_path)
        leaked = secrets.found_in(proxy.everything())
        assert set(leaked) >= {"name", "file", "pixels", "score"}, leaked
        assert {"score as float32 little", "score as four decimals"} & set(leaked), leaked
        assert leaked["name"] > 0.99
    finally:
        federation.remove("leaky")
        federation.stack.call("POST", "/control/revoke", {"name": "leaky"})
        proxy.close()


@pytest.mark.parametrize("form", ["raw", "hex", "base64", "urlsafe", "json", "float32", "float64"])
def test_scanner_recognises_every_encoding(tmp_path, form):
    import base64

    root = draw_clinic(tmp_path / "clinic", "scanner", patients=8)
    secrets = Secrets.of_folder(root)
    image = next((root / "images").iterdir()).read_bytes()
    scores = np.random.default_rng(0).random(24)
    secrets.add_scores(scores)
    noise = np.random.default_rng(1).bytes(200_000)
    assert secrets.found_in(noise) == {}
    leak = {
        "raw": image,
        "hex": image.hex().encode(),
        "base64": base64.b64encode(b"x" + image),
        "urlsafe": base64.urlsafe_b64encode(b"xx" + image),
        "json": json.dumps([round(s, 4) for s in scores]).encode(),
        "float32": scores.astype("<f4").tobytes(),
        "float64": scores.astype("<f8").tobytes(),
    }[form]
    assert secrets.found_in(noise + leak + noise) != {}
