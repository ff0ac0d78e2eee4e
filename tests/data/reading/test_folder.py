"""Reading a folder: the meaning of each layout, and the effect of bad input."""

import os
from pathlib import Path

import pytest

from embryofl.errors import DataError
from embryofl_data.reading.contract import DataFolder
from embryofl_data.reading.layouts import read_folder
from embryofl_data.reading.tables import parse_table

SHARED = Path(__file__).parents[4] / "shared" / "data"


def labels(folder: DataFolder) -> dict[str, int | None]:
    return {image.file: image.label for image in folder.images}


def kinds(folder: DataFolder) -> list[tuple[str, str]]:
    return [(problem.file, problem.kind) for problem in folder.problems]


@pytest.fixture
def root(tmp_path: Path, draw) -> Path:
    for number, name in enumerate(("a", "b", "c")):
        draw(tmp_path / "data" / "images" / f"{name}.png", number)
    return tmp_path / "data"


def write(root: Path, text: str, encoding: str = "utf-8") -> Path:
    (root / "labels.csv").write_bytes(text.encode(encoding))
    return root


def test_contract_columns_are_read(root):
    write(
        root,
        "image,label,patient,embryo,day,expansion,icm,te\nimages/a.png,1,p1,e1,5,4,A,B\nimages/b.png,0,,e2,D3,,,\n",
    )
    a, b, c = read_folder(root).images
    assert (a.label, a.patient, a.embryo, a.day, a.expansion, a.icm, a.te) == (1, "p1", "e1", 5, "4", "A", "B")
    assert (a.group, b.group, c.group) == ("p1", "e2", "images/c.png")
    assert (b.day, c.label, c.day) == (3, None, None)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_encodings_and_separators(root, encoding, separator):
    text = " Image , LABEL,Patient\r\nimages/a.png,1,Müller\r\nimages\\b.png, 0 ,Weiß\r\n\r\n".replace(",", separator)
    folder = read_folder(write(root, text, encoding))
    assert labels(folder) == {"images/a.png": 1, "images/b.png": 0, "images/c.png": None}
    assert [image.patient for image in folder.images] == ["Müller", "Weiß", ""]
    assert not folder.problems


@pytest.mark.parametrize(("cell", "label"), [("1", 1), ("0", 0), ("1.0", 1), ("0.0", 0), ("", None), ("  ", None)])
def test_label_cells(root, cell, label):
    assert labels(read_folder(write(root, f"image,label\nimages/a.png,{cell}\n")))["images/a.png"] == label


@pytest.mark.parametrize("cell", ["good", "2", "-1", "NA", "0.5", "yes"])
def test_unknown_label_skips_the_image_and_names_the_row(root, cell):
    folder = read_folder(write(root, f"image,label\nimages/b.png,0\nimages/a.png,{cell}\n"))
    assert "images/a.png" not in labels(folder)
    (problem,) = folder.problems
    assert (problem.file, problem.kind) == ("images/a.png", "bad_label")
    assert "row 3" in problem.detail and cell in problem.detail


def test_names_are_also_looked_up_in_images(root):
    assert labels(read_folder(write(root, "image,label\na.png,1\n")))["images/a.png"] == 1


def test_missing_column_is_named_with_the_existing_ones(root):
    with pytest.raises(DataError) as error:
        read_folder(write(root, "picture;label;patient\nimages/a.png;1;p\n"))
    for part in ("no column image", "picture, label, patient", "image,label", "first line"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"PK\x03\x04rest", "workbook"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\0", "not a text"),
        (b'image,label,patient\nimages/a.png,1,"p1\nimages/b.png,0,p2\n', "quotation"),
        (b"image,label,label\nimages/a.png,1,0\n", "more than once"),
    ],
)
def test_unusable_table(root, content, word):
    (root / "labels.csv").write_bytes(content)
    with pytest.raises(DataError, match=word):
        read_folder(root)


def test_spreadsheet_separator_line_is_skipped(root):
    folder = read_folder(write(root, "sep=;\nimage;label\nimages/a.png;1\nimages/b.png;bad\n"))
    assert labels(folder)["images/a.png"] == 1
    assert "row 4" in folder.problems[0].detail


def test_duplicate_rows(root):
    folder = read_folder(
        write(root, "image,label\nimages/a.png,1\nimages/a.png,1\nimages/b.png,1\n./images/b.png,0\nimages/b.png,1\n")
    )
    assert labels(folder) == {"images/a.png": 1, "images/c.png": None}
    assert {("images/a.png", "duplicate_row"), ("images/b.png", "contradiction")} <= set(kinds(folder))


def test_rows_that_name_two_patients_are_reported_as_contradictory(root):
    folder = read_folder(write(root, "image,label,patient\nimages/a.png,1,p1\nimages/a.png,1,p2\n"))
    assert "images/a.png" not in labels(folder)


def test_unknown_column_is_noted(root):
    folder = read_folder(write(root, "image,label,patient_id\nimages/a.png,1,p1\n"))
    assert kinds(folder) == [("labels.csv", "ignored_column")]
    assert "patient_id" in folder.problems[0].detail and not folder.problems[0].leaves_out


def test_impossible_day_is_noted(root):
    folder = read_folder(write(root, "image,label,day\nimages/a.png,1,yesterday\nimages/b.png,1,55\n"))
    assert [image.day for image in folder.images] == [None, None, None]
    assert [kind for _, kind in kinds(folder)] == ["bad_day", "bad_day"]


def test_row_with_surplus_cells_is_skipped(root):
    folder = read_folder(write(root, "image,label\nimages/a.png,1,0\nimages/b.png,1,\n"))
    assert labels(folder) == {"images/b.png": 1, "images/c.png": None}
    assert kinds(folder) == [("images/a.png", "bad_row")]


@pytest.mark.parametrize(
    "written", ["../outside.png", "images/../../outside.png", "{absolute}", "C:\\outside.png", "..\\outside.png"]
)
def test_path_outside_the_folder_is_never_read(root, draw, written):
    outside = draw(root.parent / "outside.png", 9)
    folder = read_folder(write(root, f"image,label\n{written.format(absolute=outside)},1\nimages/a.png,1\n"))
    assert [kind for _, kind in kinds(folder)] == ["outside_folder"]
    assert set(labels(folder)) == {"images/a.png", "images/b.png", "images/c.png"}


def test_symbolic_links_are_followed_only_inside(root, draw):
    draw(root.parent / "elsewhere" / "x.png", 9)
    (root / "images" / "escape.png").symlink_to(root.parent / "elsewhere" / "x.png")
    (root / "escape").symlink_to(root.parent / "elsewhere")
    (root / "images" / "inside.png").symlink_to("a.png")
    (root / "loop").symlink_to(root)
    (root / "images" / "dangling.png").symlink_to("nowhere.png")
    folder = read_folder(write(root, "image,label\nimages/escape.png,1\nescape/x.png,1\nimages/inside.png,1\n"))
    assert labels(folder) == {"images/a.png": 1, "images/b.png": None, "images/c.png": None}
    assert {file for file, kind in kinds(folder) if kind == "outside_folder"} >= {"images/escape.png", "escape/x.png"}
    assert ("images/dangling.png", "missing") in kinds(folder)


def test_missing_file_and_file_of_another_type(root):
    (root / "notes.txt").write_text("x")
    folder = read_folder(write(root, "image,label\nimages/z.png,1\nnotes.txt,1\nimages,1\n,1\n"))
    assert [kind for _, kind in kinds(folder)] == ["missing", "not_an_image", "missing", "bad_row"]
    assert "row 2" in folder.problems[0].detail


def test_special_and_hidden_files_are_skipped(root, draw):
    os.mkfifo(root / "images" / "pipe.png")
    draw(root / "images" / "._a.png", 5)
    assert len(read_folder(write(root, "image,label\nimages/a.png,1\n")).images) == 3


def test_name_that_is_not_utf8_is_skipped(root, draw):
    target = os.fsencode(root / "images") + b"/\xfc.png"
    Path(os.fsdecode(target)).write_bytes((root / "images" / "a.png").read_bytes())
    folder = read_folder(write(root, "image,label\nimages/a.png,1\n"))
    assert [kind for _, kind in kinds(folder)] == ["bad_name"]


def test_missing_folder_is_reported(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name, word in (("missing", "no folder"), ("file", "is a file"), ("empty", "no image")):
        with pytest.raises(DataError, match=word):
            read_folder(tmp_path / name)


def test_labels_without_images(tmp_path):
    write(tmp_path, "image,label\na.png,1\n")
    with pytest.raises(DataError, match="no image"):
        read_folder(tmp_path)


def test_kaggle_layout(tmp_path, draw):
    for number, name in enumerate(("train/D3_001.jpg", "train/D5_002.jpg", "test/D3_003.jpg", "train/D5_009.jpg")):
        draw(tmp_path / name, number)
    (tmp_path / "train.csv").write_text("Image,Class\nD3_001.jpg,0\nD5_002.jpg,1\nD5_404.jpg,1\n")
    (tmp_path / "test.csv").write_text("ID,Image\n0,D3_003.jpg\n")
    (tmp_path / "same_embryo.csv").write_text("Image,Embryo\nD3_001.jpg,hv_1\nD5_002.jpg,hv_1\nD3_003.jpg,hv_1\n")
    folder = read_folder(tmp_path)
    assert folder.layout == "kaggle"
    assert [(i.file, i.label, i.day, i.group) for i in folder.images] == [
        ("test/D3_003.jpg", None, 3, "hv_1"),
        ("train/D3_001.jpg", 0, 3, "hv_1"),
        ("train/D5_002.jpg", 1, 5, "hv_1"),
        ("train/D5_009.jpg", None, 5, "train/D5_009.jpg"),
    ]
    assert kinds(folder) == [("D5_404.jpg", "missing")]


def test_file_names_without_a_label_are_unlabelled(tmp_path, draw):
    names = ("embryo_0001_label_1.png", "embryo_0002_LABEL_0.PNG", "embryo_0003.png", "embryo_0004_label_7.png")
    for number, name in enumerate((*names, "embryo_0005_label_1_crop.png")):
        draw(tmp_path / name, number)
    folder = read_folder(tmp_path)
    assert labels(folder) == {names[0]: 1, names[1]: 0, names[2]: None}
    assert [kind for _, kind in kinds(folder)] == ["bad_label", "bad_label"]


@pytest.mark.parametrize(("one", "zero"), [("good", "poor"), ("Viable", "nonviable"), ("1", "0")])
@pytest.mark.parametrize("base", ["", "images/", "some/where/"])
def test_class_folders(tmp_path, draw, one, zero, base):
    for number, name in enumerate((f"{base}{one}/x.png", f"{base}{zero}/deep/y.png", f"{base}unlabelled/z.png")):
        draw(tmp_path / name, number)
    folder = read_folder(tmp_path)
    assert folder.layout == "class folders"
    assert sorted(labels(folder).items()) == sorted(
        {f"{base}{one}/x.png": 1, f"{base}{zero}/deep/y.png": 0, f"{base}unlabelled/z.png": None}.items()
    )


@pytest.mark.parametrize(
    "folders", [("good", "fair", "poor"), ("good", "nonviable"), ("day3", "day5"), ("unlabelled",)]
)
def test_other_folders_are_rejected_by_name(tmp_path, draw, folders):
    for number, name in enumerate(folders):
        draw(tmp_path / name / "x.png", number)
    with pytest.raises(DataError) as error:
        read_folder(tmp_path)
    assert all(name in str(error.value) for name in (*folders, "good and poor", "viable and nonviable", "labels.csv"))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"image,label\n" + b",\n" * 1_100_000, id="lines"),
        pytest.param(b"image,label\n" + b"," * 11_000_000, id="cells"),
        pytest.param(b"image,label" + b",x" * 5_000 + b"\n", id="columns"),
        pytest.param(b"image,label\n" + b'"' + b"x" * (64 << 20), id="bytes"),
    ],
)
def test_table_that_would_fill_memory_or_take_for_ever_is_rejected_before_it_is_parsed(data):
    with pytest.raises(DataError, match="too large for a table"):
        parse_table(data, "labels.csv", ("image", "label"))


def test_table_one_level_deeper_is_mentioned(tmp_path, draw):
    draw(tmp_path / "export" / "images" / "a.png", 1)
    write(tmp_path / "export", "image,label\nimages/a.png,1\n")
    with pytest.raises(DataError, match="a table in its sub-folder export"):
        read_folder(tmp_path)


def test_order_of_layouts(root, draw):
    draw(root / "good" / "x_label_0.png", 7)
    draw(root / "poor" / "y_label_1.png", 8)
    assert read_folder(root).layout == "file names"
    (root / "train.csv").write_text("Image,Class\nimages/a.png,1\n")
    assert read_folder(root).layout == "kaggle"
    assert read_folder(write(root, "image,label\nimages/a.png,1\n")).layout == "labels.csv"


@pytest.mark.skipif(not (SHARED / "hungvuong").is_dir(), reason="the shared real images are not here")
def test_real_hung_vuong():
    folder = read_folder(SHARED / "hungvuong")
    assert sum(image.label is not None for image in folder.images) == 613
    assert sum(image.label is None for image in folder.images) == 60
    assert not folder.problems
    for other in ("stork", "gomez", "kromp"):
        with pytest.raises(DataError, match="nothing that gives their labels"):
            read_folder(SHARED / other)
