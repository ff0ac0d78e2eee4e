"""Fetching public data sets from a stand-in for their publishers on loopback."""

import hashlib
import http.server
import io
import json
import subprocess
import sys
import tarfile
import threading
import types
import zipfile

import pytest

from embryofl.errors import UserError
from embryofl_data.fetching import drive
from embryofl_data.fetching.run import fetch
from embryofl_data.progress import ProgressPrinter


def zipped(size: int = 300_000) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("Images/0001_01.png", bytes(range(256)) * (size // 256))
    return buffer.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


class Publisher:
    """Serves records and files with ranges; `breaks_after`: bytes after which the next connections break."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.breaks_after: list[int] = []
        self.status = 200
        self.ranges = True
        self.etag = '"1"'
        publisher = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                publisher.reply(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def reply(self, to: http.server.BaseHTTPRequestHandler) -> None:
        self.requests.append((to.path, dict(to.headers)))
        if to.path in self.moved:
            to.send_response(302)
            to.send_header("Location", self.moved[to.path])
            to.send_header("Content-Length", "0")
            to.end_headers()
            return
        body = self.pages.get(to.path)
        status = self.status if body is not None else 404
        body = body if body is not None and status == 200 else b""
        start = 0
        if (
            status == 200
            and self.ranges
            and "Range" in to.headers
            and to.headers.get("If-Range", self.etag) == self.etag
        ):
            start, status = int(to.headers["Range"][6:-1]), 206
        to.send_response(status)
        if status == 206:
            to.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        to.send_header("ETag", self.etag)
        to.send_header("Content-Length", str(len(body) - start))
        to.end_headers()
        most = self.breaks_after.pop(0) if self.breaks_after and not to.path.endswith(RECORDS) else len(body)
        to.wfile.write(body[start : start + most])

    def requests_for(self, end: str) -> list[dict[str, str]]:
        """Headers of the requests for one file."""
        return [headers for path, headers in self.requests if path.endswith(end)]


RECORDS = ("/20123153", "/7912264")


@pytest.fixture
def publisher():
    publisher = Publisher()
    yield publisher
    publisher.server.shutdown()
    publisher.server.server_close()


def figshare(publisher: Publisher, content: bytes, md5: str = "") -> None:
    md5 = md5 or hashlib.md5(content).hexdigest()
    file = {
        "name": "Blastocyst_Dataset.zip",
        "size": len(content),
        "download_url": f"{publisher.url}/f/1",
        "computed_md5": md5,
    }
    record = {"license": {"name": "CC BY 4.0"}, "files": [file]}
    publisher.pages |= {"/v2/articles/20123153": json.dumps(record).encode(), "/f/1": content}


def zenodo(publisher: Publisher, files: dict[str, bytes]) -> None:
    listed = [
        {
            "key": name,
            "size": len(content),
            "checksum": "md5:" + hashlib.md5(content).hexdigest(),
            "links": {"self": f"{publisher.url}/f/{name}"},
        }
        for name, content in files.items()
    ]
    record = {"metadata": {"license": {"id": "cc-by-nc-sa-4.0"}}, "files": listed}
    publisher.pages["/api/records/7912264"] = json.dumps(record).encode()
    publisher.pages |= {f"/f/{name}": content for name, content in files.items()}


GOMEZ = {
    "embryo_dataset.tar.gz": tarred({"embryo_dataset/A-1/X_RUN1.jpeg": b"1", "embryo_dataset/A-1/X_RUN2.jpeg": b"2"}),
    "embryo_dataset_annotations.tar.gz": tarred({"embryo_dataset_annotations/A-1_phases.csv": b"t2,1,2\n"}),
    "embryo_dataset_grades.csv": b"video_name,TE,ICM\n",
    "embryo_dataset_time_elapsed.tar.gz": tarred(
        {"embryo_dataset_time_elapsed/A-1_timeElapsed.csv": b"frame_index,time\n"}
    ),
    "embryo_dataset_F15.tar.gz": tarred({"embryo_dataset_F15/A-1/X_RUN1.jpeg": b"3"}),
}


class Fetching:
    """Fetches data sets and records what was printed and how often consent was requested."""

    def __init__(self, publisher: Publisher) -> None:
        self.hosts = dict.fromkeys(("zenodo", "figshare", "kaggle", "github"), publisher.url)
        self.printed = io.StringIO()
        self.questions = 0
        self.accepts = True

    def __call__(self, name, out, also=()):
        def ask(_: str) -> bool:
            self.questions += 1
            return self.accepts

        fetch(name, out, ask, ProgressPrinter(self.printed), also, self.hosts, pause_s=0.001)


@pytest.fixture
def fetching(publisher):
    return Fetching(publisher)


def test_broken_download_continues_and_is_checked(publisher, fetching, tmp_path):
    content = zipped()
    figshare(publisher, content)
    publisher.breaks_after = [100_000, 50_000]
    fetching("kromp", tmp_path)
    assert (tmp_path / "Blastocyst_Dataset.zip").read_bytes() == content
    assert [headers.get("Range") for headers in publisher.requests_for("/f/1")] == [
        None,
        "bytes=100000-",
        "bytes=150000-",
    ]
    assert not list(tmp_path.glob("*.part*"))
    assert (
        "checksum is correct" in fetching.printed.getvalue() and "embryofl-clinic import" in fetching.printed.getvalue()
    )


def test_interrupted_fetch_continues_in_another_process(publisher, fetching, tmp_path):
    content = zipped()
    figshare(publisher, content)
    (tmp_path / "Blastocyst_Dataset.zip.part").write_bytes(content[:200_000])
    (tmp_path / "Blastocyst_Dataset.zip.part.etag").write_text('"1"')
    fetching("kromp", tmp_path)
    assert publisher.requests_for("/f/1")[0]["Range"] == "bytes=200000-"
    assert (tmp_path / "Blastocyst_Dataset.zip").read_bytes() == content


@pytest.mark.parametrize("change", ["etag", "ranges"])
def test_changed_or_unresumable_file_is_downloaded_from_the_start(publisher, fetching, tmp_path, change):
    content = zipped()
    figshare(publisher, content)
    (tmp_path / "Blastocyst_Dataset.zip.part").write_bytes(b"older" * 1000)
    (tmp_path / "Blastocyst_Dataset.zip.part.etag").write_text('"0"')
    publisher.ranges = change != "ranges"
    fetching("kromp", tmp_path)
    assert (tmp_path / "Blastocyst_Dataset.zip").read_bytes() == content


def test_fetched_files_need_neither_download_nor_consent_again(publisher, fetching, tmp_path):
    figshare(publisher, zipped())
    fetching("kromp", tmp_path)
    fetching("kromp", tmp_path)
    assert len(publisher.requests_for("/f/1")) == 1 and fetching.questions == 1
    assert "Licence in the publisher's record: CC BY 4.0" in fetching.printed.getvalue()


def test_changed_licence_needs_new_consent(publisher, fetching, tmp_path):
    figshare(publisher, zipped())
    fetching("kromp", tmp_path)
    page = publisher.pages["/v2/articles/20123153"]
    publisher.pages["/v2/articles/20123153"] = page.replace(b"CC BY 4.0", b"CC BY-NC 4.0")
    fetching("kromp", tmp_path)
    assert fetching.questions == 2


def test_nothing_is_fetched_without_consent(publisher, fetching, tmp_path):
    figshare(publisher, zipped())
    fetching.accepts = False
    with pytest.raises(UserError, match="not accepted"):
        fetching("kromp", tmp_path)
    assert publisher.requests_for("/f/1") == [] and list(tmp_path.iterdir()) == []


def test_file_that_differs_from_the_published_one_is_not_kept(publisher, fetching, tmp_path):
    figshare(publisher, zipped(), md5="0" * 32)
    with pytest.raises(UserError, match="not as published"):
        fetching("kromp", tmp_path)
    assert not (tmp_path / "Blastocyst_Dataset.zip").exists() and not list(tmp_path.glob("*.part"))


def test_manually_downloaded_file_is_checked_too(publisher, fetching, tmp_path):
    figshare(publisher, zipped())
    (tmp_path / "Blastocyst_Dataset.zip").write_bytes(b"half of it")
    with pytest.raises(UserError, match=r"10 bytes instead of.*after removing"):
        fetching("kromp", tmp_path)


def test_offline_fetch_lists_files_to_download_and_continues_with_them(publisher, fetching, tmp_path):
    publisher.server.shutdown()
    publisher.server.server_close()
    with pytest.raises(UserError) as error:
        fetching("gomez", tmp_path)
    text = str(error.value)
    assert "cannot be reached" in text and "https://zenodo.org/records/7912264" in text and str(tmp_path) in text
    assert all(name in text for name in GOMEZ if "F15" not in name)
    for name, content in GOMEZ.items():
        (tmp_path / name).write_bytes(content)
    fetching("gomez", tmp_path)
    assert (tmp_path / "embryo_dataset/A-1/X_RUN2.jpeg").read_bytes() == b"2"
    assert "--layout gomez" in fetching.printed.getvalue() and fetching.questions == 1


def test_a_data_set_on_request_names_its_authors_page(fetching, tmp_path):
    with pytest.raises(UserError, match=r"(?s)no public address.*doi\.org"):
        fetching("saeedi", tmp_path)


def test_archives_are_unpacked_once_and_further_planes_on_request(publisher, fetching, tmp_path):
    zenodo(publisher, GOMEZ)
    fetching("gomez", tmp_path)
    assert publisher.requests_for("F15.tar.gz") == []
    (tmp_path / "embryo_dataset/A-1/X_RUN2.jpeg").write_bytes(b"mine")
    fetching("gomez", tmp_path, also=["embryo_dataset_F15.tar.gz"])
    assert (tmp_path / "embryo_dataset_F15/A-1/X_RUN1.jpeg").read_bytes() == b"3"
    assert (tmp_path / "embryo_dataset/A-1/X_RUN2.jpeg").read_bytes() == b"mine"
    with pytest.raises(UserError, match="without a folder"):
        fetching("gomez", tmp_path, also=["../evil"])


def test_archive_with_a_path_outside_its_folder_is_rejected(publisher, fetching, tmp_path):
    zenodo(publisher, {**GOMEZ, "embryo_dataset.tar.gz": tarred({"../evil.txt": b"x"})})
    with pytest.raises(UserError, match="cannot be unpacked"):
        fetching("gomez", tmp_path / "out")
    assert not (tmp_path / "evil.txt").exists() and not list((tmp_path / "out").rglob("evil.txt"))


def test_archive_that_unpacks_to_many_times_its_size_is_rejected(publisher, fetching, tmp_path):
    zenodo(publisher, {**GOMEZ, "embryo_dataset.tar.gz": tarred({"embryo_dataset/A-1/big": bytes(65 << 20)})})
    with pytest.raises(UserError, match="holds more than"):
        fetching("gomez", tmp_path / "out")
    assert not list((tmp_path / "out").rglob("big"))


@pytest.mark.parametrize("name", ["../../evil.zip", "/etc/evil", "a\\b"])
def test_a_publisher_cannot_choose_where_files_are_written(publisher, fetching, tmp_path, name):
    figshare(publisher, zipped())
    page = publisher.pages["/v2/articles/20123153"]
    publisher.pages["/v2/articles/20123153"] = page.replace(b"Blastocyst_Dataset.zip", json.dumps(name)[1:-1].encode())
    with pytest.raises(UserError, match="cannot be read"):
        fetching("kromp", tmp_path / "out")


KAGGLE = "/api/v1/competitions/data/download-all/world-championship-2023-embryo-classification"


def test_only_kaggle_gets_the_users_token(publisher, fetching, tmp_path, monkeypatch):
    monkeypatch.setenv("KAGGLE_USERNAME", "anna")
    monkeypatch.setenv("KAGGLE_KEY", "sesame")
    monkeypatch.delenv("KAGGLE_API_TOKEN", raising=False)
    store = Publisher()
    store.pages["/store"] = zipped()
    publisher.moved[KAGGLE] = f"{store.url}/store"
    fetching("hungvuong", tmp_path)
    assert publisher.requests_for(KAGGLE)[0]["Authorization"].startswith("Basic ")
    assert "Authorization" not in store.requests_for("/store")[0]
    assert "sesame" not in fetching.printed.getvalue()
    assert not any(b"sesame" in path.read_bytes() for path in tmp_path.iterdir())
    store.server.shutdown()
    store.server.server_close()


def test_kaggle_needs_a_token_and_consent_to_its_rules(publisher, fetching, tmp_path, monkeypatch):
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"(?s)No Kaggle token.*Download.*classification\.zip"):
        fetching("hungvuong", tmp_path / "out")
    (tmp_path / "none").mkdir()
    (tmp_path / "none/kaggle.json").write_text('{"username": "anna", "key": "sesame"}')
    publisher.pages[KAGGLE], publisher.status = b"", 403
    with pytest.raises(UserError, match="replied 403: accept its rules") as error:
        fetching("hungvuong", tmp_path / "out")
    assert "sesame" not in str(error.value)


def test_google_drive_is_downloaded_with_gdown(fetching, tmp_path, monkeypatch):
    def download(id, output, resume):
        assert id == "abc" and resume
        with open(output, "wb") as file:
            file.write(zipped())
        return output

    monkeypatch.setattr(drive, "gdown", types.SimpleNamespace(download=download))
    fetching("drive:abc", tmp_path / "a")
    assert zipfile.is_zipfile(tmp_path / "a/drive.zip")
    monkeypatch.setattr(drive, "gdown", None)
    with pytest.raises(UserError, match="not installed.*save it as"):
        fetching("drive:abc", tmp_path / "b")


def test_the_command_asks_first_and_shows_no_traceback(tmp_path):
    command = [sys.executable, "-c", "from embryofl_datagen.cli import main; main()", "fetch"]
    for name, part in (("drive:abc", "--accept-terms"), ("nothing", "No data set is called nothing")):
        done = subprocess.run(
            [*command, name, str(tmp_path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2 and part in done.stderr and "Traceback" not in done.stderr
