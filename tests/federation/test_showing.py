"""A clinic decides whether others see its own metrics: from its policy to the public results of a run."""

import json
from pathlib import Path

import pytest

from embryofl_clinic.policy.rules import ONE_OWNER
from kits.federation import Federation, until

NAMES = ("clinic-1", "clinic-2", "clinic-3")
PUBLIC = ("results-public.json", *(f"model-card-public.{kind}" for kind in ("json", "md", "html")))


@pytest.fixture
def declare(federation: Federation):
    """`declare(name, shows)`: sets the clinic's policy and waits until the hub has it; reset at the end."""
    paths = {n: federation.place.clinic(n) / "policy.toml" for n in NAMES}

    def shows_metrics(name: str) -> bool:
        listed = federation.stack.call("GET", "/control/clinics")
        return bool(next(c["shows_metrics"] for c in listed if c["name"] == name))

    def write(name: str, shows: bool) -> None:
        paths[name].write_text(ONE_OWNER + f"show_metrics = {json.dumps(shows)}\n")
        until(f"the hub has {name}'s policy", lambda: shows_metrics(name) is shows)

    yield write
    for name, path in paths.items():
        path.write_text(ONE_OWNER)
        until(f"{name} is hidden again", lambda n=name: not shows_metrics(n))


def clinics_in(folder: Path, name: str) -> set[str]:
    """The clinics whose metrics are in a `results` file."""
    results = json.loads((folder / name).read_text())
    parts = [*results["splits"].values(), *results["rounds"]]
    return {n for part in parts for n in part["clinics"]}


def test_clinic_metrics_are_public_only_by_consent_and_never_by_subtraction(federation, declare):
    declare("clinic-1", True)
    folder = federation.run(rounds=1, min_clinics=3)
    assert clinics_in(folder, "results.json") == set(NAMES)  # the coordinator's
    assert (
        clinics_in(folder, "results-public.json") == set()
    )  # with two hidden clinics, each could work out the metrics of the other
    results, public = (json.loads((folder / n).read_text()) for n in ("results.json", "results-public.json"))
    assert public["splits"]["test"]["pooled"]["all"] == results["splits"]["test"]["pooled"]["all"]
    losses = [json.dumps(e["training"][n]["loss"]) for e in results["rounds"] for n in NAMES]
    for name in PUBLIC:
        text = (folder / name).read_text()
        assert len(losses) == 3 and not any(loss in text for loss in losses), name
        assert "not shown on their own" in text or name == "results-public.json"
    for kind in ("json", "md", "html"):  # the coordinator's own card, marked as such
        text = (folder / f"model-card.{kind}").read_text()
        assert "For the coordinator only" in text and "not shown on their own" not in text
    status = federation.clinic("clinic-1", "status").stdout
    assert "Other clinics may see" in status and "show_metrics = True" in status
    # the card that clinics receive with the final model holds no clinic's metrics
    card = federation.place.clinic("clinic-2") / "models" / folder.name / "model.json"
    until("clinic-2 has the model", card.exists)
    assert not any(n in card.read_text() for n in NAMES)

    for name in NAMES[1:]:
        declare(name, True)
    folder = federation.run(rounds=1, min_clinics=3, seed=2)
    assert clinics_in(folder, "results-public.json") == set(NAMES)
    assert all("not shown on their own" not in (folder / n).read_text() for n in PUBLIC)
