"""Whether others see a clinic's figures on its own is the clinic's to say, from its policy to what is published of a run."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from embryofl_demo.stack import program
from kits.federation import Federation, until

NAMES = ("clinic-1", "clinic-2", "clinic-3")
PUBLIC = ("results-public.json", *(f"model-card-public.{kind}" for kind in ("json", "md", "html")))


@pytest.fixture
def declare(federation: Federation):
    """`declare(name, text)`: the clinic's policy, taken by the hub; as it was at the end."""
    paths = {n: federation.place.clinic(n) / "policy.toml" for n in NAMES}

    def says(name: str) -> bool:
        listed = federation.stack.call("GET", "/control/clinics")
        return bool(next(c["shows_metrics"] for c in listed if c["name"] == name))

    def write(name: str, shows: bool) -> None:
        paths[name].write_text(f"show_metrics = {json.dumps(shows)}\n")
        until(f"the hub knows it of {name}", lambda: says(name) is shows, 30)

    yield write
    for name, path in paths.items():
        path.unlink(missing_ok=True)
        until(f"{name} is as before", lambda n=name: not says(n), 30)


def figures_of(folder: Path, name: str) -> set[str]:
    """The clinics with figures of their own in a `results` file."""
    found = json.loads((folder / name).read_text())
    parts = [*found["splits"].values(), *found["rounds"]]
    return {n for part in parts for n in part["clinics"]}


def test_clinic_metrics_are_public_only_by_consent_and_never_by_subtraction(federation, declare):
    declare("clinic-1", True)
    folder = federation.run(rounds=1, min_clinics=3)
    assert figures_of(folder, "results.json") == set(NAMES)  # the coordinator's
    assert figures_of(folder, "results-public.json") == set()  # of two that are hidden, each would know the other's
    whole, public = (json.loads((folder / n).read_text()) for n in ("results.json", "results-public.json"))
    assert public["splits"]["test"]["pooled"]["all"] == whole["splits"]["test"]["pooled"]["all"]
    own = [json.dumps(e["training"][n]["loss"]) for e in whole["rounds"] for n in NAMES]
    for name in PUBLIC:
        text = (folder / name).read_text()
        assert len(own) == 3 and not any(loss in text for loss in own), name
        assert "not shown on their own" in text or name == "results-public.json"
    for kind in ("json", "md", "html"):  # the coordinator's own, which says for whom it is
        text = (folder / f"model-card.{kind}").read_text()
        assert "For the coordinator alone" in text and "not shown on their own" not in text
    told = subprocess.run(
        [program("embryofl-clinic"), "status", "--state", str(federation.place.clinic("clinic-1"))],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "Other clinics may see" in told.stdout and "show_metrics = True" in told.stdout
    # what clinics get of the finished model has no clinic's figures
    card = federation.place.clinic("clinic-2") / "models" / folder.name / "model.json"
    until("clinic-2 has the model", card.exists)
    assert not any(n in card.read_text() for n in NAMES)

    for name in NAMES[1:]:
        declare(name, True)
    folder = federation.run(rounds=1, min_clinics=3, seed=2)
    assert figures_of(folder, "results-public.json") == set(NAMES)
    assert all("not shown on their own" not in (folder / n).read_text() for n in PUBLIC)
