"""An import only changes its own folder, whatever the source contains, and can be interrupted."""

import io
import os
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from embryofl.errors import UserError
from embryofl_data.importers.plan import Options
from embryofl_data.importers.run import import_source
from embryofl_data.reading.layouts import read_folder
from kits.importing import bring_in, fingerprint, image_bytes, tree

pytestmark = pytest.mark.integration

COMMAND = str(Path(sys.executable).parent / "embryofl-clinic")


def archive(path: Path, files: dict[str, bytes], link: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.filename = name  # the constructor would correct the name
            out.writestr(info, content)
        if link:
            info = zipfile.ZipInfo(link)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            out.writestr(info, "/etc/passwd")
    return path


KAGGLE = {
    "train.csv": b"Image,Class\nD5_1.png,1\nD5_2.png,0\n",
    "train/D5_1.png": image_bytes(1),
    "train/D5_2.png": image_bytes(2),
}


def test_an_archive_is_read_like_its_unpacked_folder(tmp_path):
    packed = bring_in(archive(tmp_path / "set.zip", {f"set/{n}": c for n, c in KAGGLE.items()}), tmp_path / "a")
    plain = bring_in(tree(tmp_path / "in", {f"set/{n}": c for n, c in KAGGLE.items()}), tmp_path / "b")
    assert packed.rows == plain.rows and [row["label"] for row in packed.rows.values()] == ["1", "0"]


def test_archives_at_the_top_of_a_folder_are_read_in_place(tmp_path):
    (tmp_path / "in").mkdir()
    frame = "AA1-1/D2013.01.28_S0717_I132_WELL1_RUN3.jpeg"
    archive(tmp_path / "in/embryo_dataset.zip", {f"embryo_dataset/{frame}": image_bytes(1, "JPEG")})
    archive(tmp_path / "in/annotations.zip", {"embryo_dataset_annotations/AA1-1_phases.csv": b"tPB2,1,5\n"})
    imported = bring_in(tmp_path / "in", tmp_path / "out", rule="none", phases=("tPB2",))
    assert [row["frame"] for row in imported.rows.values()] == ["3"]


@pytest.mark.parametrize(
    "name", ["../../evil.png", "/evil.png", "C:\\evil.png", "train\\..\\..\\evil.png", "..\\evil.png"]
)
def test_zip_slip_is_rejected(tmp_path, name):
    (tmp_path / "in").mkdir()
    source = archive(tmp_path / "in/set.zip", {**KAGGLE, name: image_bytes(3)})
    before = fingerprint(tmp_path)
    with pytest.raises(UserError, match="leads out of the archive"):
        bring_in(source, tmp_path / "out")
    assert fingerprint(tmp_path) == before


def test_odd_entries_of_an_archive_are_skipped(tmp_path):
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in KAGGLE.items():
            out.writestr(name, content)
        with out.open("train/D5_3.png", "w", force_zip64=True) as entry:
            for _ in range(300):
                entry.write(bytes(2**20))
        info = zipfile.ZipInfo("train/D5_4.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        out.writestr(info, "/etc/passwd")
    (tmp_path / "set.zip").write_bytes(bomb.getvalue())
    imported = bring_in(tmp_path / "set.zip", tmp_path / "out")
    assert len(imported.rows) == 2
    assert "too large" in imported.skipped("D5_3.png") and "link" in imported.skipped("D5_4.png")


def test_directory_of_an_archive_that_would_fill_the_memory_is_not_read(tmp_path):
    """1.5 million files without content, in an archive of 70 MB."""
    files = 1_500_000
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, *[0] * 8, 1, *[0] * 6) + b"a"
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, files * len(entry), 0, 0)
    (tmp_path / "set.zip").write_bytes(entry * files + end)
    with pytest.raises(UserError, match=r"its directory has 70,500,000 bytes, and at most 67,108,864 are read"):
        bring_in(tmp_path / "set.zip", tmp_path / "out")


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_entry_that_chooses_the_memory_of_its_decompression_is_skipped(tmp_path, method):
    with zipfile.ZipFile(archive(tmp_path / "set.zip", KAGGLE), "a") as out:
        out.writestr("train/D5_3.png", image_bytes(3), compress_type=method)
    imported = bring_in(tmp_path / "set.zip", tmp_path / "out")
    assert len(imported.rows) == 2
    assert "compressed in a way that is not read" in imported.skipped("D5_3.png")


def test_a_damaged_archive_is_named(tmp_path):
    source = archive(tmp_path / "set.zip", KAGGLE)
    source.write_bytes(source.read_bytes()[:-30])
    with pytest.raises(UserError, match="zip archive"):
        bring_in(source, tmp_path / "out")


def test_a_table_with_an_endless_cell_is_named(tmp_path):
    root = tree(tmp_path / "in", {"complete.csv": f"a.png,1,{'1' * 200_000},1\n", "a.png": 1})
    with pytest.raises(UserError, match=r"complete\.csv cannot be read as a table"):
        bring_in(root, tmp_path / "out", "kromp", "gardner-3bb")


def test_links_and_pipes_of_a_folder_are_never_opened(tmp_path):
    root = tree(tmp_path / "in", {"good/a.png": 1, "poor/b.png": 2})
    tree(tmp_path, {"secret.png": 3})
    (root / "good/c.png").symlink_to(tmp_path / "secret.png")
    (root / "good/up").symlink_to(tmp_path)
    os.mkfifo(root / "good/d.png")
    lines: list[str] = []
    import_source(root, tmp_path / "out", "", "", Options(), False, lines.append)
    assert sorted(p.name for p in (tmp_path / "out").rglob("*.png")) == ["a.png", "b.png"]
    assert any("links are not followed" in line for line in lines) and any("pipe" in line for line in lines)


def test_any_name_can_be_read_back(tmp_path):
    names = ["胚胎.png", "a\nb.png", " c.png", "d\\e.png", "Müller, Anna.png", '"q".png', "A.PNG", "a.png"]
    root = tree(tmp_path / "in", {f"{side}/{name}": i for side in ("good", "poor") for i, name in enumerate(names)})
    imported = bring_in(root, tmp_path / "out")
    folder = read_folder(tmp_path / "out")
    assert len(folder.images) == len(imported.rows) == 2 * len(names) and not folder.problems
    assert all((image.label == 1) == image.file.startswith("images/good/") for image in folder.images)


@pytest.mark.parametrize("out", ["in", "in/inside", "."])
def test_the_source_is_never_written_to(tmp_path, out):
    root = tree(tmp_path / "in", {"good/a.png": 1, "poor/b.png": 2})
    with pytest.raises(UserError, match="contain one another"):
        bring_in(root, tmp_path / out)


def test_non_empty_output_folder_is_untouched(tmp_path):
    root = tree(tmp_path / "in", {"good/a.png": 1, "poor/b.png": 2})
    tree(tmp_path / "out", {"mine.txt": "x"})
    with pytest.raises(UserError, match=r"holds mine\.txt"):
        bring_in(root, tmp_path / "out")


def test_an_interrupted_import_is_repeated(tmp_path):
    root = tree(tmp_path / "in", {"good/a.png": 1, "poor/b.png": 2})
    tree(tmp_path / "out", {".importing/labels.csv": "image", "images/good/half.png": 3})
    assert len(bring_in(root, tmp_path / "out").rows) == 2
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["images", "import.json", "labels.csv"]


def test_the_command_prints_rule_and_counts_before_it_writes(tmp_path):
    root = tree(tmp_path / "in", {"1_0_3AA.jpg": 1, "2_0_1BB.jpg": 2, "3_0_4CC.jpg": 3})
    arguments = ["import", str(root), str(tmp_path / "out"), "--rule", "stork"]
    dry = subprocess.run([COMMAND, *arguments, "--dry-run"], capture_output=True, text=True, check=True).stdout
    assert not (tmp_path / "out").exists()
    assert (
        "Rule stork v1: 1: 3AA or 3AB. 0: 1BB or 2BB" in dry and "1 with label 1, 1 with label 0, 1 unlabelled" in dry
    )
    done = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=True).stdout
    assert done.index("Rule stork v1") < done.index("written to")
    wrong = subprocess.run([COMMAND, *arguments[:-1], "gess"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and "The rule gess was requested" in wrong.stderr and "Traceback" not in wrong.stderr
