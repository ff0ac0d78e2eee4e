"""Public data sets in their publishers' layouts, with all known traps, are imported without guessing a label."""

import numpy as np
import pytest

from embryofl.errors import UserError
from embryofl_data.reading.layouts import read_folder
from kits.importing import SHARED, bring_in, image_bytes, tree

pytestmark = pytest.mark.integration

KROMP_HEADER = "Image;Fond;d;EXP_silver;ICM_silver;TE_silver;AMH;Age;Endo;COC;MII;SS;HA;LB\n"


@pytest.fixture
def kromp(tmp_path):
    clinical = (
        KROMP_HEADER
        + "187_1.png;1;5;3;0;1;Jän.26;33;12.Apr;7+1;6;1;1;0\n"
        + "0002_01.png;1;5;3;2;1;1,2;33;12;7;6;1;0;\n"
        + "0003_01.png;1;5;3;0;0;1,2;33;12;7;6;0;0;0\n"
    )
    return tree(
        tmp_path / "kromp",
        {
            "Images/0187_01.png": 1,
            "Images/0002_01.png": 2,
            "Images/0003_01.png": 3,
            "Images/0004_01.png": 4,
            "Images/0005_01.png": 5,
            "Images/201_01.png": 6,
            "Images/0006_01.png": 7,
            "Images/0007_01.png": 8,
            "Gardner_train_silver.csv": (
                "Image;EXP_silver;ICM_silver;TE_silver\n0002_01.png;3;2;1\n0003_01.png;3;0;0\n0004_01.png;0;3;3\n"
                "0005_01.png;NA;-1;ND\n0187_01.png;3;0;1\n0006_01.png;2;0;ND\n9999_01.png;2;0;0\n"
            ),
            "Gardner_test_gold_onlyGardnerScores.csv": "Image;EXP_gold;ICM_gold;TE_gold;\n201_01.png;4;1;1;\n0003_01.png;3;2;2;\n",
            "Clincial_annotations.csv": clinical.encode("latin-1"),
        },
    )


def test_kromp_grades(kromp, tmp_path):
    imported = bring_in(kromp, tmp_path / "out", rule="gardner-3bb")
    labels = {image.rsplit("/", 1)[-1]: row["label"] for image, row in imported.rows.items()}
    assert labels == {
        "0187_01.png": "1",  # 4AB
        "0002_01.png": "0",  # 4CB
        "0003_01.png": "0",  # gold says 4CC, silver 4AA: experts first
        "0004_01.png": "0",  # expansion 1, below any grade of ICM and TE
        "0005_01.png": "",  # NA
        "201_01.png": "1",  # 5BB
        "0006_01.png": "",  # 3A, TE not defined
        "0007_01.png": "",  # missing from all tables
    }
    row = imported.row("0187_01.png")
    assert (row["patient"], row["embryo"], row["expansion"], row["icm"], row["te"]) == ("187", "187_1", "4", "A", "B")
    assert "no such image" in imported.skipped("9999_1")
    assert imported.manifest["unlabelled_because"] == {"no expansion grade": 2, "grade 3A-: ICM or TE not graded": 1}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("biochemical-pregnancy", {"187": "1", "2": "1", "3": "0"}),
        ("clinical-pregnancy", {"187": "1", "2": "0", "3": "0"}),
        ("live-birth", {"187": "0", "2": "", "3": "0"}),
    ],
)
def test_kromp_outcomes_are_found_in_all_spellings_and_missing_ones_stay_missing(kromp, tmp_path, rule, expected):
    imported = bring_in(kromp, tmp_path / "out", rule=rule)
    labels = {row["patient"]: row["label"] for row in imported.rows.values()}
    assert labels == {**dict.fromkeys(("4", "5", "201", "6", "7"), ""), **expected}
    assert imported.manifest["rule"]["meaning"] == {"live-birth": "live_birth"}.get(rule, "implantation")


def test_a_rule_must_be_named_if_grades_become_labels(kromp, tmp_path):
    with pytest.raises(UserError, match="No rule was named.*never guessed"):
        bring_in(kromp, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_contradictory_kromp_grades_are_ignored(kromp, tmp_path):
    with (kromp / "Gardner_train_silver.csv").open("a") as table:
        table.write("0002_01.png;3;0;0\n")
    imported = bring_in(kromp, tmp_path / "out", rule="gardner-3bb")
    assert imported.label("0002_01.png") == ""
    assert any("contradicts" in item["reason"] for item in imported.manifest["left_out"])


@pytest.fixture
def gomez(tmp_path):
    files: dict[str, bytes | str | int] = {
        "embryo_dataset_annotations/AA83-7_phases.csv": "tPB2,1,4\ntPNa,5,8\nt2,9,12\nnonsense,1\n",
        "embryo_dataset_annotations/AA83-2_phases.csv": "tPB2,1,6\nt2,7,12\n",
        "embryo_dataset_grades.csv": "video_name,TE,ICM\nAA83-7,A,B\nAA83-2,NA,A\n",
        "embryo_dataset_time_elapsed/AA83-7_timeElapsed.csv": "frame_index,time\n"
        + "".join(f"{number},{number * 0.5}\n" for number in range(1, 13)),
    }
    for well in (7, 2):
        for frame in range(1, 13):
            name = f"AA83-{well}/D2013.01.28_S0717_I132_WELL{well}_RUN{frame}.jpeg"
            files[f"embryo_dataset/{name}"] = 100 * well + frame
            files[f"embryo_dataset_F-15/{name}"] = 1000 * well + frame
    root = tree(tmp_path / "gomez", files)
    cut = root / "embryo_dataset/AA83-7/D2013.01.28_S0717_I132_WELL7_RUN12.jpeg"
    cut.write_bytes(cut.read_bytes()[:200])
    return root


def frames(imported):
    return sorted((row["embryo"], int(row["frame"]), row["focal_plane"]) for row in imported.rows.values())


def test_gomez_uses_the_last_readable_frame_and_never_reads_na_as_a_grade(gomez, tmp_path):
    imported = bring_in(gomez, tmp_path / "out", rule="icm-te-b")
    assert frames(imported) == [("AA83-2", 12, "0"), ("AA83-7", 11, "0")]
    assert "truncated" in imported.skipped("WELL7_RUN12.jpeg")
    assert {row["embryo"]: row["label"] for row in imported.rows.values()} == {"AA83-7": "1", "AA83-2": ""}
    assert {row["patient"] for row in imported.rows.values()} == {"AA83"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"before": "t2"}, [("AA83-2", 6, "0"), ("AA83-7", 8, "0")]),
        ({"before": "3.1h"}, [("AA83-7", 6, "0")]),
        ({"phases": ("tPB2", "tPNa")}, [("AA83-2", 6, "0"), ("AA83-7", 8, "0")]),
        ({"phases": ("tPNa",), "pick": "first"}, [("AA83-7", 5, "0")]),
        ({"planes": ("0", "-15"), "before": "tPNa"}, [("AA83-7", 4, "-15"), ("AA83-7", 4, "0")]),
        (
            {"phases": ("t2",), "pick": "all"},
            [("AA83-2", n, "0") for n in range(7, 13)] + [("AA83-7", n, "0") for n in (9, 10, 11)],
        ),
    ],
)
def test_gomez_frames_by_phase_time_and_plane(gomez, tmp_path, options, expected):
    chosen = frames(bring_in(gomez, tmp_path / "out", rule="none", **options))
    if options.get("planes"):  # an embryo that never reached the phase keeps all its frames
        chosen = [frame for frame in chosen if frame[0] == "AA83-7"]
    assert chosen == expected


def test_gomez_rejects_a_phase_that_does_not_exist(gomez, tmp_path):
    with pytest.raises(UserError, match="tXX.*tPB2"):
        bring_in(gomez, tmp_path / "out", rule="none", phases=("tXX",))


@pytest.fixture
def stork(tmp_path):
    return tree(
        tmp_path / "stork",
        {
            "Images/train/good/11_0_3AA-.jpg": 1,
            "Images/train/good/11_-45_3AA-.jpg": 2,
            "Images/train/good/11_15_3AA-.jpg": 3,
            "Images/train/poor/12_0_1B-B-.jpg": 4,
            "Images/test/good_13_15_3AB.jpg": 5,
            "Images/test/14_0_2BB.jpg": 6,
            "Images/test/15_0_4CC.jpg": 7,
            "Images/train/good/16_0_3AA.jpg": 8,
            "Images/train/poor/16_15_3AA.jpg": 9,
            "Images/readme.jpg": 10,
        },
    )


def test_stork_uses_each_embryo_once_with_its_stated_label(stork, tmp_path):
    imported = bring_in(stork, tmp_path / "out")
    assert {row["embryo"]: row["label"] for row in imported.rows.values()} == {
        "11": "1",
        "12": "0",
        "13": "1",
        "14": "",
        "15": "",
    }
    assert "duplicate" in imported.skipped("11_-45_3AA-.jpg") and "duplicate" in imported.skipped("11_15_3AA-.jpg")
    assert any("different" in item["reason"] for item in imported.manifest["left_out"])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("stork", {"11": "1", "12": "0", "13": "1", "14": "0", "15": ""}),
        ("gardner-3bb", {"11": "1", "12": "0", "13": "1", "14": "0", "15": "0"}),
        ("gardner-3aa", {"11": "1", "12": "0", "13": "0", "14": "0", "15": "0"}),
    ],
)
def test_rules_can_turn_the_same_grade_into_different_labels(stork, tmp_path, rule, expected):
    imported = bring_in(stork, tmp_path / "out", rule=rule)
    assert {row["embryo"]: row["label"] for row in imported.rows.values()} == expected


def test_saeedi_imports_images_but_no_outlines(tmp_path):
    root = tree(
        tmp_path / "saeedi",
        {
            "Images/Blast_PCRM_1201754 D5.BMP": image_bytes(1, "BMP"),
            "Images/Blast_PCRM_R14-0411a.BMP": image_bytes(2, "BMP"),
            "GT_ICM/Blast_PCRM_1201754 D5 ICM_Mask.bmp": image_bytes(3, "BMP"),
            "GT_TE/Blast_PCRM_R14-0411a TE_Mask.bmp": image_bytes(4, "BMP"),
        },
    )
    table = tmp_path / "grades.csv"
    table.write_text("image,expansion,icm,te\nBlast_PCRM_1201754 D5.BMP,4,B,B\n")
    imported = bring_in(root, tmp_path / "out", rule="gardner-3bb", table=table)
    assert {name.rsplit("/", 1)[-1]: row["label"] for name, row in imported.rows.items()} == {
        "Blast_PCRM_1201754 D5.BMP": "1",
        "Blast_PCRM_R14-0411a.BMP": "",
    }
    assert imported.row("1201754 D5.BMP")["day"] == "5"
    assert imported.manifest["left_out_because"] == {"outline, not an image of an embryo": 2}


@pytest.mark.parametrize("above", ["", "world-championship/"])
def test_kaggle_layout(tmp_path, above):
    root = tree(
        tmp_path / "hv",
        {
            f"{above}train/D3_001.jpg": 1,
            f"{above}train/D5_002.jpg": 2,
            f"{above}train/D5_003.jpg": 3,
            f"{above}train/D5_004.jpg": 4,
            f"{above}test/D3_001.jpg": 5,
            f"{above}train.csv": "Image,Class\nD3_001.jpg,0\nD5_002.jpg,1\nD5_003.jpg,1\nD5_003.jpg,0\nD5_009.jpg,1\n",
            f"{above}test.csv": "ID,Image\n0,D3_001.jpg\n",
        },
    )
    imported = bring_in(root, tmp_path / "out")
    assert {name: (row["label"], row["day"]) for name, row in imported.rows.items()} == {
        f"images/{above}test/D3_001.jpg": ("", "3"),
        f"images/{above}train/D3_001.jpg": ("0", "3"),
        f"images/{above}train/D5_002.jpg": ("1", "5"),
        f"images/{above}train/D5_004.jpg": ("", "5"),
    }
    assert {item["source"] for item in imported.manifest["left_out"]} >= {"D5_009.jpg"}


@pytest.mark.parametrize(
    ("name", "rule", "images", "ones", "zeros"),
    [
        ("hungvuong", "", 673, 87, 526),
        ("kromp", "gardner-3bb", 2, 0, 2),
        ("gomez", "none", 3, 0, 0),
        ("stork", "stork", 14, 7, 7),
        ("stork", "", 14, 1, 1),
    ],
)
def test_real_images(tmp_path, name, rule, images, ones, zeros):
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data")
    imported = bring_in(SHARED / name, tmp_path / "out", rule=rule)
    labels = [row["label"] for row in imported.rows.values()]
    assert (len(labels), labels.count("1"), labels.count("0")) == (images, ones, zeros)
    folder = read_folder(tmp_path / "out")
    assert folder.layout == "labels.csv" and not [p for p in folder.problems if p.leaves_out]
    assert np.unique([image.file for image in folder.images]).size == images
