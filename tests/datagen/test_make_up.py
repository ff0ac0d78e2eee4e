"""What `make up` has the job do: decide on this machine's clinics, and give them their images."""

from pathlib import Path

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from embryofl_datagen.cli import app
from embryofl_datagen.local import clinics_file

pytestmark = pytest.mark.integration


def run(*arguments: str) -> tuple[str, str]:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout, done.stderr


def folder_of(root: Path, patients: int) -> Path:
    """Images with a table, two of each patient."""
    (root / "images").mkdir(parents=True)
    rows = ["image,label,patient"]
    for number in range(2 * patients):
        Image.new("RGB", (8, 8), (number, number, 0)).save(root / f"images/{number}.png")
        rows.append(f"images/{number}.png,{number % 2},p{number // 2}")
    (root / "labels.csv").write_text("\n".join(rows))
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


class Loader(yaml.SafeLoader):
    """Knows Compose's `!reset`."""


Loader.add_constructor("!reset", lambda loader, node: loader.construct_sequence(node))


@pytest.mark.parametrize("gpu", [False, True])
def test_every_clinic_alone_has_its_state_and_its_images_cannot_be_changed(gpu: bool) -> None:
    text = clinics_file(3, "folders", gpu)
    assert text.startswith("x-clinics: folders clinic-1 clinic-2 clinic-3\n")  # which scripts/compose.sh reads
    file = yaml.load(text, Loader)
    services = file["services"]
    assert set(services) == {"datagen", *(f"clinic-{k}{app}" for k in (1, 2, 3) for app in ("", "-app"))}
    for number in (1, 2, 3):
        own = [f"clinic-{number}-data:/data:ro", f"clinic-{number}-state:/state"]
        assert services[f"clinic-{number}"]["volumes"] == services[f"clinic-{number}-app"]["volumes"] == own
    assert services["datagen"] == {"volumes": [f"clinic-{k}-data:/out/clinic-{k}" for k in (1, 2, 3)]}
    assert len(file["volumes"]) == 6
    assert ("clinic-gpu" in text) == ("embryofl-clinic:cuda" in text) == gpu


def test_clinics_of_this_machine_are_kept_and_counted_by_the_highest_number(tmp_path: Path) -> None:
    assert run("compose-file")[0] == clinics_file(3, "synthetic")
    text, remark = run("compose-file", "--have", "clinic-1,clinic-10,clinic-9", "--asked", "2")
    assert text == clinics_file(10, "synthetic") and "has 10 clinics and keeps them" in remark
    source = folder_of(tmp_path / "source", 4)
    assert run("compose-file", "--source", str(source), "--asked", "4", "--gpu")[0] == clinics_file(4, "divided", True)


def test_only_clinics_without_complete_images_get_some(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("fill", str(out), "--clinics", "1", "--images", "20")
    first = contents(out / "clinic-1")
    _, printed = run("fill", str(out), "--clinics", "2", "--images", "20")
    assert "clinic-2: 20 images" in printed and "clinic-1" not in printed
    assert contents(out / "clinic-1") == first and (out / "clinic-2" / "labels.csv").exists()


def test_real_images_are_divided_once_even_if_the_folder_changes_later(tmp_path: Path) -> None:
    source, out = folder_of(tmp_path / "source", 6), tmp_path / "out"
    run("fill", str(out), "--clinics", "2", "--source", str(source))
    before = contents(out)
    assert {name.split("/")[0] for name in before} == {"clinic-1", "clinic-2"} and len(before) == 16
    (source / "images" / "0.png").unlink()
    run("fill", str(out), "--clinics", "2", "--source", str(source))
    assert contents(out) == before
