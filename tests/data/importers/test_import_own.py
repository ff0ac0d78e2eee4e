"""Layouts of clinics: file names, folders, tables, DICOM, time-lapse exports."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from embryofl.errors import UserError
from kits.dicom import dicom_bytes
from kits.importing import bring_in, tree


def test_a_file_without_a_label_is_unlabelled(tmp_path):
    root = tree(
        tmp_path / "in",
        {
            "embryo_0001_label_1.png": 1,
            "embryo_0002_label_0.png": 2,
            "embryo_0003.png": 3,
            "embryo_0004_label_2.png": 4,
        },
    )
    imported = bring_in(root, tmp_path / "out")
    assert {name: row["label"] for name, row in imported.rows.items()} == {
        "images/embryo_0001_label_1.png": "1",
        "images/embryo_0002_label_0.png": "0",
        "images/embryo_0003.png": "",
    }
    assert imported.row("0001_label_1.png")["embryo"] == "embryo_0001"
    assert "label '2'" in imported.skipped("0004_label_2.png")


def test_folders_are_classes_only_if_both_are_known(tmp_path):
    root = tree(tmp_path / "in", {"set/good/a.png": 1, "set/poor/b.png": 2, "set/unlabelled/c.png": 3, "set/d.png": 4})
    imported = bring_in(root, tmp_path / "out")
    assert [row["label"] for row in imported.rows.values()] == ["", "1", "0", ""]
    other = tree(tmp_path / "other", {"fair/a.png": 1, "good/b.png": 2})
    with pytest.raises(UserError, match="not known"):
        bring_in(other, tmp_path / "out2")


TABLE = (
    "Dateiname;Urteil;Pat-ID;Tag;Grad\n"
    "a.png;gut;7;5;4AB\n"
    "b.png;schlecht;7;5;2\n"
    "c.png;mittel;8;5;\n"
    "d.png;;8;3;3CA\n"
    "e.png;gut;9;5;4BB\ne.png;schlecht;9;5;4BB\n"
    "nowhere.png;gut;9;5;4BB\n"
    "../../etc/passwd.png;gut;9;5;4BB\n"
)
COLUMNS = {"image": "Dateiname", "label": "Urteil", "patient": "Pat-ID", "day": "Tag", "grade": "Grad"}


@pytest.fixture
def german(tmp_path):
    return tree(
        tmp_path / "in", {"Bilder/a.png": 1, **{f"{n}.png": i for i, n in enumerate("bcdef")}, "liste.csv": TABLE}
    )


def test_a_table_may_have_any_columns_and_label_words(german, tmp_path):
    imported = bring_in(german, tmp_path / "out", "table", columns=COLUMNS, labels={"gut": 1, "schlecht": 0})
    assert {
        name.rsplit("/", 1)[-1]: (row["label"], row["patient"], row["day"]) for name, row in imported.rows.items()
    } == {"a.png": ("1", "7", "5"), "b.png": ("0", "7", "5"), "c.png": ("", "8", "5"), "d.png": ("", "8", "3")}
    assert imported.manifest["unlabelled_because"] == {
        "the label 'mittel' is unknown": 1,
        "the source states no label": 1,
    }
    assert "contradict" in imported.skipped("e.png") and "not in the table" in imported.skipped("f.png")
    assert "leads out" in imported.skipped("passwd.png") and "missing" in imported.skipped("nowhere.png")
    assert (imported.row("a.png")["expansion"], imported.row("a.png")["icm"], imported.row("a.png")["te"]) == (
        "4",
        "A",
        "B",
    )


def test_a_table_of_grades_needs_a_rule_and_keeps_missing_grades(german, tmp_path):
    imported = bring_in(german, tmp_path / "out", "table", "gardner-3bb", columns=COLUMNS)
    labels = {name.rsplit("/", 1)[-1]: row["label"] for name, row in imported.rows.items()}
    assert labels == {"a.png": "1", "b.png": "", "c.png": "", "d.png": "0"}  # "2" alone is not a complete grade


def test_table_import_lists_missing_options(german, tmp_path):
    with pytest.raises(UserError, match="No --map image=COLUMN"):
        bring_in(german, tmp_path / "out", "table", columns={"label": "Urteil"})
    with pytest.raises(UserError, match="no column file"):
        bring_in(german, tmp_path / "out", "table", columns={"image": "File"})


def test_dicom_drops_everything_that_identifies_a_patient(tmp_path):
    root = tree(
        tmp_path / "in",
        {
            "DOE_JANE_19800101/1.dcm": dicom_bytes(1, "4711"),
            "DOE_JANE_19800101/2.dcm": dicom_bytes(2, "4711", "MONOCHROME1"),
            "ROE/3.dcm": dicom_bytes(3, "4712", BurnedInAnnotation="YES"),
            "ROE/broken.dcm": dicom_bytes(4, "4712")[:700],
            "ROE/none.dcm": b"no DICOM",
        },
    )
    table = tmp_path / "labels.csv"
    table.write_text("image,label,day\n1.dcm,1,5\n2.dcm,0,5\n")
    imported = bring_in(root, tmp_path / "out", table=table)
    assert [(row["label"], row["patient"], row["day"]) for row in imported.rows.values()] == [
        ("1", "p0001", "5"),
        ("0", "p0001", "5"),
        ("", "p0002", ""),
    ]
    for secret in (b"Doe", b"4711", b"1980", b"Secret", b"ACC123"):
        for path in (tmp_path / "out").rglob("images/**/*"):
            assert path.is_dir() or secret not in path.read_bytes()
        assert secret not in (tmp_path / "out/labels.csv").read_bytes()
    assert not any("JANE" in str(path) for path in (tmp_path / "out").rglob("*"))
    assert any("burnt" in line for line in imported.lines)
    assert {item["source"] for item in imported.manifest["left_out"]} == {"ROE/broken.dcm", "ROE/none.dcm"}
    images = [np.asarray(Image.open(tmp_path / "out" / name)) for name in imported.rows]
    assert images[0].shape == (20, 24) and images[0].dtype == np.uint8 and images[0].std() > 40


def test_dicom_that_inflates_to_a_thousand_times_its_size_is_not_read(tmp_path):
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    plain = dicom_bytes(1, "4711", ImageComments="x")
    meta_end = plain.index(b"\x08\x00\x16\x00UI")
    body = plain[meta_end:] + b"\xfc\xff\xfc\xffOB\0\0" + struct.pack("<I", 300 << 20)
    packed = packer.compress(body) + b"".join(packer.compress(bytes(2**20)) for _ in range(300)) + packer.flush()
    bomb = plain[:meta_end].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    # The syntax is two bytes longer: so are the element, and the group that holds it.
    bomb = bomb.replace(b"\x02\0\x10\0UI\x14\0", b"\x02\0\x10\0UI\x16\0")
    length = struct.unpack_from("<I", bomb, 140)[0]
    bomb = bomb[:140] + struct.pack("<I", length + 2) + bomb[144:] + packed
    assert len(bomb) < 400_000
    root = tree(tmp_path / "in", {"bomb.dcm": bomb, "plain.dcm": plain})
    imported = bring_in(root, tmp_path / "out")
    assert len(imported.rows) == 1 and "deflated" in imported.skipped("bomb.dcm")


@pytest.mark.parametrize(
    "name", ["D2020.03.01_S0101_I7_WELL{w}/D2020.03.01_S0101_I7_WELL{w}_RUN{f}.jpg", "S0101/WELL{w}/F0/{f}.jpg"]
)
def test_time_lapse_export_gives_one_frame_per_well(tmp_path, name):
    files = {name.format(w=well, f=frame): 100 * well + frame for well in (1, 2, 10) for frame in (1, 2, 10)}
    root = tree(tmp_path / "in", {**files, "notes/photo.jpg": 1})
    imported = bring_in(root, tmp_path / "out", "embryoscope")
    assert [row["frame"] for row in imported.rows.values()] == ["10"] * 3
    assert len({row["embryo"] for row in imported.rows.values()}) == 3
    assert len({row["patient"] for row in imported.rows.values()}) == 1
    assert {row["label"] for row in imported.rows.values()} == {""}
    assert "not a frame" in imported.skipped("photo.jpg")


def test_time_lapse_export_with_focal_planes_and_labels(tmp_path):
    files = {f"S1/WELL3/F{plane}/{frame}.jpg": 50 * frame + plane for plane in (-15, 0, 15) for frame in (1, 2)}
    table = tmp_path / "outcomes.csv"
    table.write_text("embryo,label\nWELL3,1\nWELL9,maybe\n")
    root = tree(tmp_path / "in", files)
    imported = bring_in(root, tmp_path / "out", "embryoscope", planes=("-15", "0", "15"), pick="first", table=table)
    assert sorted((row["focal_plane"], row["frame"], row["label"]) for row in imported.rows.values()) == [
        ("-15", "1", "1"),
        ("0", "1", "1"),
        ("15", "1", "1"),
    ]
    assert "maybe" in imported.skipped("WELL9")
