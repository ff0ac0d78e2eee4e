"""The report's findings, each caused by the one fault that it is about."""

import json

import numpy as np
import pytest
from PIL import Image, ImageFilter

from embryofl.data_statistics import pool, release
from embryofl_clinic.joining.join import enrolment_preview
from embryofl_data.report import measurements
from embryofl_data.report.facts import data_summary
from embryofl_data.report.report import DataReport, Finding, Verdict
from embryofl_data.report.run import CHECKS, check_folder, check_to_join
from kits.reports import clinic, embryo, jpeg, write

pytestmark = pytest.mark.integration


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "data"
    clinic(root)
    return root


def finding(report: DataReport, name: str) -> Finding:
    return next(each for each in report.findings if each.id == name)


def replace(root, number: int, image: Image.Image) -> str:
    image.save(root / f"images/{number:03}.png")
    return f"images/{number:03}.png"


def test_a_clean_folder_has_no_stop_finding(root):
    report = check_folder(root)
    assert report.exit_code == 0
    assert {each.id for each in report.findings if each.verdict is Verdict.STOP} == set()
    for name in ("exact-duplicates", "near-duplicates", "names", "metadata", "text", "left-out", "shortcuts"):
        assert finding(report, name).verdict is Verdict.OK, finding(report, name)
    assert json.loads(json.dumps(report.to_dict()))["verdict"] == report.verdict


COPIES = {
    "turned": lambda image: image.rotate(71, Image.Resampling.BICUBIC, fillcolor=165),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "cropped": lambda image: image.crop((6, 2, 154, 150)),
    "lit": lambda image: image.point(lambda value: value * 0.6 + 60),
    "focused elsewhere": lambda image: jpeg(image.filter(ImageFilter.GaussianBlur(1.5)), 60),
    "another size": lambda image: image.resize((320, 320), Image.Resampling.BICUBIC),
}


def test_altered_images_of_one_embryo_are_found(root):
    expected = set()
    for number, change in enumerate(COPIES.values()):
        # another patient, and the other label
        expected.add(
            (f"images/{4 * number:03}.png", replace(root, 4 * number + 31 - number % 2, change(embryo(4 * number))))
        )
    result = finding(check_folder(root), "near-duplicates")
    assert result.verdict is Verdict.LOOK
    assert {tuple(pair[:2]) for pair in result.values["pairs"]} == expected
    assert result.values["across_patients"] == len(COPIES) and result.values["opposite_labels"] > 0


def shifted(image: Image.Image) -> Image.Image:
    moved = Image.new("L", image.size, 165)
    moved.paste(image, (75, 75))
    return moved


BAD = {
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(2.5)),
    "smeared": lambda image: image.crop((0, 60, 160, 80)).resize((160, 160)),
    "no-embryo": lambda image: Image.new("L", (160, 160), 150),
    "exposure": lambda image: image.point(lambda value: min(255, value * 4)),
    "off-frame": shifted,
}


def test_bad_images_are_named(root):
    expected = {
        name: replace(root, 20 + 3 * number, change(embryo(200 + number)))
        for number, (name, change) in enumerate(BAD.items())
    }
    report = check_folder(root)
    for name, file in expected.items():
        result = finding(report, name)
        assert result.values["files"] == [file] and result.shown[0].files == (file,), name


def test_metadata_fields_are_named_but_their_contents_are_not_shown(root):
    exif = Image.Exif()
    exif[0x013B] = "Dr. Secret"  # Artist
    embryo(1).save(root / "images/001.jpg", exif=exif)
    info = __import__("PIL.PngImagePlugin", fromlist=["PngInfo"]).PngInfo()
    info.add_text("Patient", "Maria Secret")
    embryo(2).save(root / "images/002.png", pnginfo=info)
    report = check_folder(root)
    result = finding(report, "metadata")
    assert result.verdict is Verdict.LOOK and result.values["fields"] == {"Artist": 1, "Patient": 1}
    assert "Secret" not in json.dumps(report.to_dict())


def test_names_and_birth_dates_in_file_names(root):
    for name in ("Maria_Gonzalez_1.png", "embryo_1984-03-12.png", "SCHMIDT ANNA 2.png", "DOB 121084.png"):
        embryo(70).save(root / "images" / name)
    report = check_folder(root)
    result = finding(report, "names")
    assert {shown.files[0] for shown in result.shown} == {
        "images/Maria_Gonzalez_1.png",
        "images/embryo_1984-03-12.png",
        "images/SCHMIDT ANNA 2.png",
        "images/DOB 121084.png",
    }


def test_patient_in_two_parts_of_the_folders_own_split_stops(tmp_path):
    root = tmp_path / "data"
    lines = clinic(root, extra="split")
    sides = ["train" if number // 2 < 20 else "test" for number in range(60)]
    write(root, [lines[0], *(f"{line},{side}" for line, side in zip(lines[1:], sides, strict=True))])
    assert finding(check_folder(root), "own-split").verdict is Verdict.OK
    for number in (6, 14):  # manually move one of the two images of these patients to the other part
        sides[number] = "test"
    write(root, [lines[0], *(f"{line},{side}" for line, side in zip(lines[1:], sides, strict=True))])
    report = check_folder(root)
    result = finding(report, "own-split")
    assert result.verdict is Verdict.STOP and report.exit_code == 1
    assert result.values["patients"] == 2 and {shown.note.split(":")[0] for shown in result.shown} == {"p3", "p7"}


@pytest.mark.parametrize("exact", [True, False], ids=["same files", "exported again"])
def test_a_patient_under_two_names_stops(tmp_path, exact):
    root = tmp_path / "data"
    clinic(root)
    for source, copy in ((8, 50), (9, 51)):  # p4 again, as p25
        image = embryo(source)
        replace(root, copy, image if exact else image.point(lambda value: value * 0.8 + 20))
    report = check_folder(root)
    result = finding(report, "two-names")
    assert result.verdict is Verdict.STOP and report.exit_code == 1
    assert "p25 and p4" in result.found


def test_image_size_that_predicts_the_label_is_a_shortcut(tmp_path):
    root = tmp_path / "data"
    clinic(root)
    for number in range(60):
        side = 160 if number // 2 % 2 else 224
        embryo(number, side).save(root / f"images/{number:03}.png")
    result = finding(check_folder(root), "shortcuts")
    assert result.verdict is Verdict.STOP and "the size of the image" in result.found
    assert result.values["the size of the picture"]["auroc"] > 0.97


def test_rare_class_is_reported(root):
    lines = (root / "labels.csv").read_text().splitlines()
    write(
        root,
        [lines[0], *(line if number < 14 else line.replace(",1,", ",0,") for number, line in enumerate(lines[1:]))],
    )
    assert finding(check_folder(root), "rare-class").values == {"label_1": 6, "label_0": 54}


def test_second_check_opens_only_changed_files(root, tmp_path):
    cache = tmp_path / "cache"
    first = check_folder(root, cache)
    assert first.measured == 60
    replace(root, 5, embryo(99))
    (root / "images/006.png").unlink()
    embryo(100).save(root / "images/new.png")
    second = check_folder(root, cache)
    assert second.measured == 2
    assert second.findings == check_folder(root).findings


def test_damaged_store_is_rebuilt(root, tmp_path):
    cache = tmp_path / "cache"
    check_folder(root, cache)
    (store,) = cache.glob("report-*.sqlite")
    store.write_bytes(b"no database" * 1000)
    assert check_folder(root, cache).measured == 60
    assert check_folder(root, cache).measured == 0


def test_a_failing_check_does_not_end_the_report(root, monkeypatch):
    def broken(study):
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr("embryofl_data.report.run.CHECKS", (broken, *CHECKS))
    report = check_folder(root)
    assert any(each.id.startswith("failed-") for each in report.findings)
    assert finding(report, "near-duplicates").verdict is Verdict.OK


def test_exif_rotation_does_not_hide_a_duplicate(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    np.testing.assert_array_equal(embryo(3).size, (160, 160))
    (root / "images/041.png").unlink()
    lines = (root / "labels.csv").read_text().replace("041.png", "041.jpg").splitlines()
    write(root, lines)
    embryo(3).transpose(Image.Transpose.ROTATE_90).save(root / "images/041.jpg", exif=exif)
    result = finding(check_folder(root), "near-duplicates")
    assert [pair[:2] for pair in result.values["pairs"]] == [["images/003.png", "images/041.jpg"]]


def test_second_check_does_not_compare_unchanged_images_again(root, tmp_path, monkeypatch):
    replace(root, 7, COPIES["mirrored"](embryo(2)))
    cache = tmp_path / "cache"
    first = check_folder(root, cache)
    assert finding(first, "near-duplicates").values["pairs"]
    compare = measurements.find_pairs
    compared = []
    monkeypatch.setattr(measurements, "find_pairs", lambda *given: compared.append(1) or compare(*given))
    assert check_folder(root, cache).findings == first.findings and not compared
    replace(root, 9, embryo(98))
    assert check_folder(root, cache).findings == check_folder(root).findings and len(compared) == 2


def statistics(brightness: float, images: int = 60):
    """Image statistics of a clinic whose images have this brightness."""
    optics = [
        (brightness + n % 7, 30 + n % 5, 0.0, 0.0, 0.0, 0.6 + 0.01 * (n % 9), *([62.5] * 16)) for n in range(images)
    ]
    return release(optics)


def test_report_compares_with_other_clinics(root):
    ours = check_folder(root).facts.statistics
    assert not [each for each in check_folder(root).findings if each.id == "drift"]  # no other clinics to compare with
    alike = finding(check_folder(root, others=pool([ours, ours])), "drift")
    assert alike.verdict is Verdict.OK and alike.values["brightness"]["distance"] == 0
    darker = pool(
        [statistics(ours.measures["brightness"].mean - 60), statistics(ours.measures["brightness"].mean - 50)]
    )
    result = finding(check_folder(root, others=darker), "drift")
    assert result.verdict is Verdict.LOOK and "brightness brighter than the others'" in result.found
    assert "lamp and exposure" in result.advice and "2 other clinics" in result.found


def test_statistics_sent_when_joining_are_shown_and_have_no_small_count(root):
    summary = data_summary(check_to_join(root, root.parent / "cache", 64).facts)
    shown = "\n".join(enrolment_preview("anna", "quality", {**summary, "metrics": "pooled"}))
    assert "brightness" in shown and f"over all {summary['statistics']['images']} images" in shown
    for measure in summary["statistics"]["measures"].values():
        assert not [count for count in measure["bins"] if 0 < count < 5]
    quick, close = summary["statistics"], check_folder(root).facts.statistics.model_dump()
    assert quick == close  # the same images give the same statistics when joining and in the report
