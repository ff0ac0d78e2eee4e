"""The cache decodes nothing twice, never returns stale pixels, and leaves no partial files."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from embryofl.errors import UserError
from embryofl_data import cache as cache_module
from embryofl_data.cache import DecodedCache, open_cache
from embryofl_data.reading import scan
from embryofl_data.reading.decode import decode_image, open_image
from kits.caches import open_in_process

pytestmark = pytest.mark.integration

SIZE = 16


@pytest.fixture
def root(tmp_path: Path, draw) -> Path:
    for number in range(6):
        draw(tmp_path / "data" / f"{number}.png", number)
    return tmp_path / "data"


@pytest.fixture
def decodes(monkeypatch) -> list[int]:
    """A list with an entry for each decoded image."""
    calls: list[int] = []

    def counted(data):
        calls.append(len(data))
        return open_image(data)

    monkeypatch.setattr(scan, "open_image", counted)
    return calls


def files(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def open_all(root: Path) -> DecodedCache:
    return open_cache(root, files(root), root.parent / "cache", SIZE)


def assert_right(root: Path, cache: DecodedCache) -> None:
    for file, row in cache.rows.items():
        assert np.array_equal(cache.pixels[row], decode_image((root / file).read_bytes(), SIZE))


def test_second_start_decodes_nothing(root, decodes):
    first, second = open_all(root), open_all(root)
    assert (len(decodes), first.decoded, second.decoded) == (6, 6, 0)
    assert_right(root, second)
    assert isinstance(second.pixels, np.memmap) and second.pixels.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        second.pixels[0] = 0


def test_only_what_changed_is_decoded_again(root, decodes, draw):
    open_all(root)
    draw(root / "3.png", 33)
    draw(root / "new.png", 44)
    (root / "5.png").unlink()
    cache = open_all(root)
    assert cache.decoded == 2
    assert_right(root, cache)
    assert len(cache.pixels) == 6


def test_changed_file_of_the_same_size_is_detected(root):
    path = root / "0.png"
    Image.new("RGB", (16, 16), 1).save(path, "BMP")
    open_all(root)
    Image.new("RGB", (16, 16), 2).save(path, "BMP")
    assert_right(root, open_all(root))


def test_touched_moved_and_copied_files_are_not_decoded(root, decodes):
    open_all(root)
    os.utime(root / "0.png", ns=(1, 1))
    (root / "1.png").rename(root / "moved.png")
    shutil.copy(root / "2.png", root / "copy.png")
    cache = open_all(root)
    assert cache.decoded == 0 and len(decodes) == 6
    assert cache.rows["copy.png"] == cache.rows["2.png"]
    assert_right(root, cache)


def test_problems_are_cached_too(root, decodes):
    (root / "bad.png").write_text("not an image")
    for _ in range(2):
        cache = open_all(root)
        assert cache.infos["bad.png"].kind == "unreadable" and "bad.png" not in cache.rows
    assert len(decodes) == 7


def test_requesting_a_subset_keeps_the_rest(root, decodes):
    open_all(root)
    assert set(open_cache(root, ["1.png"], root.parent / "cache", SIZE).rows) == {"1.png"}
    open_all(root)
    assert len(decodes) == 6


def test_sizes_and_folders_share_a_cache_folder(root, decodes, tmp_path):
    other = shutil.copytree(root, tmp_path / "other")
    for _ in range(2):
        open_all(root)
        open_cache(root, files(root), tmp_path / "cache", 8)
        open_cache(other, files(other), tmp_path / "cache", SIZE)
    assert len(decodes) == 18


@pytest.mark.parametrize("damage", ["garbage", "empty", "cut", "rows", "version", "no pixels", "short pixels"])
def test_damaged_cache_is_rebuilt(root, decodes, damage):
    open_all(root)
    index = next((root.parent / "cache").glob("*.json"))
    pixels = next((root.parent / "cache").glob("*.u8"))
    text = index.read_text()
    if damage == "no pixels":
        pixels.unlink()
    elif damage == "short pixels":
        pixels.write_bytes(pixels.read_bytes()[:-1])
    elif damage in ("rows", "version"):
        content = json.loads(text)
        content |= {"rows": dict.fromkeys(content["rows"], 99)} if damage == "rows" else {"version": "0"}
        index.write_text(json.dumps(content))
    else:
        index.write_text({"garbage": "{]", "empty": "", "cut": text[:-40]}[damage])
    cache = open_all(root)
    assert len(decodes) == 12
    assert_right(root, cache)
    assert len(list((root.parent / "cache").glob("*.u8"))) == 1


def test_index_cannot_point_outside_the_cache(root, tmp_path):
    open_all(root)
    index = next((tmp_path / "cache").glob("*.json"))
    content = json.loads(index.read_text())
    shutil.copy(tmp_path / "cache" / content["pixels"], tmp_path / "secret")
    index.write_text(json.dumps(content | {"pixels": "../secret"}))
    assert open_all(root).decoded == 6


def test_old_maps_stay_valid_after_a_rebuild(root, draw):
    old = open_all(root)
    before = np.array(old.pixels)
    draw(root / "0.png", 77)
    open_all(root)
    assert np.array_equal(old.pixels, before)


def test_no_usable_file(root):
    for path in root.iterdir():
        path.write_bytes(b"")
    cache = open_all(root)
    assert cache.pixels.shape == (0, SIZE, SIZE, 3) and not cache.rows
    assert {info.kind for info in cache.infos.values()} == {"empty"}


def test_link_created_after_the_listing_is_not_followed(root, draw, tmp_path):
    listed = files(root)
    secret = draw(tmp_path / "secret.png", 99)
    (root / "0.png").unlink()
    (root / "0.png").symlink_to(secret)
    assert open_cache(root, listed, tmp_path / "cache", SIZE).infos["0.png"].kind == "unreadable"


def test_huge_file_is_not_read(root, monkeypatch):
    with (root / "huge.tif").open("wb") as handle:
        handle.truncate(2**40)
    assert open_all(root).infos["huge.tif"].kind == "too_large"


def test_full_disk_is_reported_before_anything_is_written(root, monkeypatch):
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(UserError, match="MB are needed"):
        open_all(root)
    assert not [path for path in (root.parent / "cache").iterdir() if path.suffix != ".lock"]


def test_disk_that_fills_up_while_writing_leaves_no_files(root):
    """A file size limit of the kernel simulates the full disk."""
    code = (
        "import resource, sys; from pathlib import Path; from embryofl_data.cache import open_cache;"
        "from embryofl.errors import UserError;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "root = Path(sys.argv[1]);\n"
        "try: open_cache(root, [p.name for p in root.iterdir()], Path(sys.argv[2]), 16)\n"
        "except UserError as error: print(error)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, str(root), str(root.parent / "cache")], capture_output=True, text=True, check=True
    )
    assert "No disk space left" in process.stdout
    assert not [path for path in (root.parent / "cache").iterdir() if path.suffix != ".lock"]


def test_cache_folder_that_cannot_be_created(root):
    (root.parent / "cache").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        open_all(root)


def test_two_processes_build_once_and_see_the_same(root):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    given = (root, files(root), root.parent / "cache", SIZE, queue)
    workers = [context.Process(target=open_in_process, args=given) for _ in range(2)]
    for worker in workers:
        worker.start()
    results = [queue.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert sorted(decoded for decoded, _ in results) == [0, 6]
    assert results[0][1] == results[1][1]


def test_files_of_a_killed_build_are_removed(root):
    cache = open_all(root)
    assert cache.decoded == 6
    stem = next((root.parent / "cache").glob("*.json")).stem
    leftover = root.parent / "cache" / f"{stem}-abc.tmp"
    leftover.write_bytes(b"x" * 100)
    open_all(root)
    assert not leftover.exists()
