"""For any folder, the report finishes, names skipped files with reasons, and needs little memory."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest

from kits.reports import clinic, embryo, write

pytestmark = pytest.mark.integration

COMMAND = str(Path(sys.executable).parent / "embryofl-clinic")
LIMIT_S = 240
MOST_MB = 1000

CHECK = """
import json, os, resource, sys, time
from pathlib import Path
from embryofl_data.report.run import check_folder
import threading

peak = 0
def tree():
    parents, sizes = {}, {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                parents[int(entry)], sizes[int(entry)] = int(fields[1]), int(fields[21]) * 4096
            except OSError:
                pass
    total, ours = 0, {os.getpid()}
    for _ in range(6):
        ours |= {pid for pid, parent in parents.items() if parent in ours}
    return sum(sizes[pid] for pid in ours if pid in sizes)
def watch():
    global peak
    while True:
        peak = max(peak, tree())
        time.sleep(0.05)
threading.Thread(target=watch, daemon=True).start()
report = check_folder(Path(sys.argv[1]))
json.dump({**report.to_dict(), "peak_mb": peak / 1e6}, sys.stdout)
"""


def check(root: Path, before: tuple[str, ...] = ()) -> dict:
    """Make the report in a new process, and measure the peak memory of that process and its workers together."""
    code = ["if __name__ == '__main__':", *("    " + line for line in CHECK.splitlines())]
    script = root.parent / "check.py"
    script.write_text("\n".join(code))
    command = [*before, sys.executable, str(script), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    report = json.loads(done.stdout)
    assert report["peak_mb"] < MOST_MB
    return report


def problems(report: dict) -> dict[str, list[str]]:
    return {problem["kind"]: problem["files"] for problem in report["problems"]}


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "data"
    clinic(root)
    return root


def bomb(path: Path, side: int) -> None:
    """A small PNG whose decoded image would have side x side pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    deflate = zlib.compressobj(9)
    line = bytes(1 + 3 * side)
    packed = b"".join(deflate.compress(line) for _ in range(min(side, 7000))) + deflate.flush()
    header = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b""))


@pytest.mark.slow
def test_malicious_files_are_survived(root, tmp_path):
    images = root / "images"
    with (images / "sparse.png").open("wb") as file:
        file.truncate(4 * 2**30)
    bomb(images / "bomb.png", 30_000)
    bomb(images / "black.png", 6_900)  # just within the limit
    os.mkfifo(images / "pipe.png")
    (images / "device.png").symlink_to("/dev/zero")
    (images / "out").symlink_to("/")
    (images / "loop").symlink_to(images)
    (images / "passwd.png").symlink_to("/etc/passwd")
    (images / "empty.png").touch()
    (images / "text.png").write_text("no image")
    (images / "half.png").write_bytes((images / "001.png").read_bytes()[:3000])
    (images / "1.dcm").write_bytes(bytes(128) + b"DICM")
    with zipfile.ZipFile(root / "more.zip", "w") as archive:
        archive.writestr("../../evil.png", "x")
    deep = images
    for _ in range(300):
        deep = deep / "d"
    os.makedirs(deep)
    (deep / "x.png").write_bytes((images / "001.png").read_bytes())
    report = check(root)
    left_out = problems(report)
    assert "images/sparse.png" in left_out["too_large"] and "images/bomb.png" in left_out["too_large"]
    assert left_out["special_file"] == ["images/pipe.png"] and left_out["dicom"] == ["images/1.dcm"]
    assert left_out["archive"] == ["more.zip"] and left_out["too_deep"][0].endswith("d/d")
    assert set(left_out["outside_folder"]) >= {"images/device.png", "images/passwd.png", "images/out"}
    assert left_out["empty"] == ["images/empty.png"] and left_out["unreadable"] == ["images/text.png"]
    assert left_out["truncated"] == ["images/half.png"]
    assert sum(sum(labels.values()) for labels in report["counts"].values()) == 61
    assert not (tmp_path / "evil.png").exists()


@pytest.mark.slow
def test_twenty_thousand_tiny_files(root):
    many = root / "images/many"
    for block in range(20):
        (many / f"{block:02}").mkdir(parents=True)
        for number in range(1000):
            (many / f"{block:02}/{number:03}.png").write_bytes(b"%d" % number)
    report = check(root)
    (unreadable,) = [p for p in report["problems"] if p["kind"] == "unreadable"]
    assert unreadable["count"] == 20_000
    assert sum(sum(labels.values()) for labels in report["counts"].values()) == 60


NAMES = (
    "胚胎 一.png",
    "эмбрион.png",
    "جنين.png",
    "a\nb.png",
    "\u202egnp.x.png",
    "-rf.png",
    "$(id).png",
    "'; DROP--.png",
)


@pytest.mark.slow
def test_names_in_other_scripts_and_with_newlines(root):
    lines = (root / "labels.csv").read_text().splitlines()
    for number, name in enumerate(NAMES):
        embryo(300 + number).save(root / "images" / name)
        cell = '"' + name.replace('"', '""') + '"'
        lines.append(f"{cell},{number % 2},q{number // 2},q{number},5")
    write(root, lines)
    os.close(os.open(os.fsencode(root / "images") + b"/\xff\xfe.png", os.O_CREAT))
    report = check(root)
    assert sum(labels["1"] + labels["0"] for labels in report["counts"].values()) == 60 + len(NAMES)
    assert set(problems(report)) == {"bad_name"}
    page = root.parent / "page.html"
    printed = subprocess.run([COMMAND, "check", str(root), "--html", str(page)], capture_output=True, check=False)
    assert printed.returncode == 0 and b"Traceback" not in printed.stderr and page.stat().st_size > 1000
    assert b"\x1b" not in printed.stdout and "\u202e".encode() not in printed.stdout


def test_unreadable_files_are_named(root):
    before: tuple[str, ...] = ()
    if os.geteuid() == 0:  # root can read everything unless it drops that capability
        if shutil.which("setpriv") is None:
            pytest.skip("needs setpriv")
        before = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    (root / "images/000.png").chmod(0)
    closed = root / "images/closed"
    closed.mkdir()
    embryo(400).save(closed / "a.png")
    closed.chmod(0)
    report = check(root, before)
    assert set(problems(report)["unreadable"]) == {"images/000.png", "images/closed"}
    details = [d for p in report["problems"] if p["kind"] == "unreadable" for d in p["details"]]
    assert all("Permission denied" in detail for detail in details)
    assert sum(sum(labels.values()) for labels in report["counts"].values()) == 59
