"""The clinic's own page: who gets in, what hostile uploads come to, and what a scored cohort shows."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from scoring_kit import draw_embryo, finished_model, png
from starlette.testclient import TestClient

from embryofl.errors import UserError
from embryofl_clinic.app import door as door_module
from embryofl_clinic.app import serve
from embryofl_clinic.app.pages import Pages, create_app
from embryofl_clinic.settings import ClinicSettings

BASE = "http://127.0.0.1:8088"
POST = {"Origin": BASE}


@pytest.fixture
def page(tmp_path):
    """A page with a model; `page.links` are those that were printed, `page.state` its state folder."""
    state = tmp_path / "state"
    finished_model(state / "models" / "run-0001")
    links = []
    app = create_app(Pages(ClinicSettings(state_dir=state, data_dir=tmp_path / "data")), links.append)
    app.new_link()
    client = TestClient(app, base_url=BASE, follow_redirects=False)
    client.links, client.state, client.door = links, state, app
    return client


@pytest.fixture
def inside(page):
    page.get(page.links[-1])
    return page


def send(client, files, **fields):
    return client.post("/score", files=[("images", f) for f in files], data=fields, headers=POST)


PATHS = [
    "/",
    "/score",
    "/scored",
    "/sent",
    "/report",
    "/static/app.css",
    "/scored/20260101-000000-00000000",
    "/nothing",
]


@pytest.mark.parametrize("path", PATHS)
def test_without_the_link_nothing_is_served(page, path):
    answer = page.get(path)
    assert answer.status_code == 401 and "link" in answer.text and "run-0001" not in answer.text
    page.cookies.set(door_module.COOKIE, "guessed")
    assert page.get(path).status_code == 401


def test_a_link_works_once_and_its_cookie_is_out_of_reach_of_scripts_and_other_sites(page):
    link = page.links[-1]
    cookie = page.get(link).headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert page.get("/").status_code == 200
    stranger = TestClient(page.door, base_url=BASE)
    assert stranger.get(link).status_code == 403 and stranger.get("/").status_code == 401
    assert page.links[-1] != link and stranger.get(page.links[-1]).status_code == 200
    page.post("/leave", headers=POST)
    assert page.get("/").status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.1.7:8088", "localhost.", ""])
def test_another_host_name_is_not_answered(inside, host):
    answer = inside.get("/", headers={"Host": host})
    assert answer.status_code == 403 and "run-0001" not in answer.text


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "http://127.0.0.1:3000", "https://127.0.0.1:8088"]
)
def test_another_pages_request_does_nothing(inside, origin):
    headers = {} if origin is None else {"Origin": origin}
    answer = inside.post("/score", files=[("images", ("a.png", draw_embryo(1)))], headers=headers)
    assert answer.status_code == 403 and not (inside.state / "scored").exists()


def test_another_page_cannot_read_or_frame_this_one(inside):
    assert inside.get("/", headers={"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}).status_code == 403
    headers = inside.get("/").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert headers["x-frame-options"] == "DENY" and headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in headers
    assert all(not re.search(r"(src|href|action)=[\"']?(https?:)?//", inside.get(p).text) for p in PATHS[:5])


def test_a_cohort_is_ordered_with_pictures_made_anew_and_nothing_of_it_is_kept(inside):
    data = draw_embryo(3)
    answer = send(inside, [("E1.png", data), ("E2.png", draw_embryo(4)), ("E3@1.png", draw_embryo(5)), ("E3@2.png", draw_embryo(6))], cohort="<b>A</b>")  # fmt: skip
    assert answer.status_code == 303
    shown = inside.get(answer.headers["location"]).text
    assert (
        "Rank 1 of 3" in shown and "Research use only" in shown and "of 100 embryos scored like this" in shown.lower()
    )
    assert "<b>A" not in shown and "&lt;b&gt;A" in shown and "does not prove" in shown
    assert shown.count("data:image/jpeg;base64,") == 8 and "data:image/png" not in shown
    (record,) = (inside.state / "scored").iterdir()
    kept = json.loads(record.read_text())
    assert kept["pictures"] == {} and "base64" not in record.read_text()
    assert kept["scores"]["models"][0]["run"] == "run-0001" and len(kept["digests"]) == 4
    assert "were not kept" in TestClientAgain(inside).get(answer.headers["location"]).text


def TestClientAgain(before):  # noqa: N802 - a page that was started again
    links = []
    app = create_app(Pages(ClinicSettings(state_dir=before.state)), links.append)
    app.new_link()
    client = TestClient(app, base_url=BASE)
    client.get(links[-1])
    return client


def test_pictures_are_kept_when_asked_for(inside):
    answer = send(inside, [("E1.png", draw_embryo(1))], keep="yes")
    assert "data:image/jpeg" in TestClientAgain(inside).get(answer.headers["location"]).text


BOMB = b"\x89PNG\r\n\x1a\n" + png(30000, 30000)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><script>alert(1)</script>"


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.svg", SVG, "no image of a known type"),
        ("html.png", HTML, "no image of a known type"),
        ("bomb.png", BOMB, "too large"),
        ("cut.png", draw_embryo(1)[:900], "truncated"),
        ("empty.png", b"", "no content"),
        ("<img src=x onerror=alert(1)>.png", HTML, "no image of a known type"),
    ],
)
def test_a_hostile_file_is_refused_in_words_and_never_comes_back(inside, name, data, words):
    answer = send(inside, [(name, data), ("good.png", draw_embryo(2))])
    shown = inside.get(answer.headers["location"]).text
    assert words in shown and "Rank 1 of 1" in shown
    assert "alert(1)</script>" not in shown and "<img src=x" not in shown


def test_a_file_name_cannot_lead_anywhere(inside):
    answer = send(inside, [("../../etc/passwd.png", draw_embryo(1)), ("x/../E.png", draw_embryo(2))])
    assert "../" not in inside.get(answer.headers["location"]).text


def test_too_many_and_too_much_are_refused_in_words(inside, monkeypatch):
    answer = send(inside, [(f"{n}.png", b"x") for n in range(61)])
    assert answer.status_code == 400 and "at most 60" in answer.text
    assert "No image was chosen" in inside.post("/score", data={"cohort": "A"}, headers=POST).text
    monkeypatch.setattr(door_module, "MOST_BYTES", 1000)
    answer = send(inside, [("a.png", b"x" * 2000)])
    assert answer.status_code == 413 and "256 MiB" in answer.text
    chunked = inside.post("/score", content=iter([b"x"]), headers={**POST, "Content-Type": "multipart/form-data"})
    assert chunked.status_code == 413


@pytest.mark.parametrize("id_", ["..%2f..%2fidentity%2fhub", "20260101-000000-zzzzzzzz", "x"])
def test_a_record_is_found_by_its_id_alone(inside, id_):
    assert inside.get(f"/scored/{id_}").status_code == 404


@pytest.mark.parametrize("host", ["192.168.1.7", "example.org", "::", "0.0.0.0"])
def test_it_binds_loopback_alone(host, monkeypatch):
    monkeypatch.setattr(serve, "in_container", lambda: False)
    with pytest.raises(UserError, match="loopback"):
        serve.check_host(host)
    serve.check_host("127.0.0.1")


def test_a_container_of_its_own_network_may_be_published_and_one_of_the_hosts_may_not(monkeypatch):
    monkeypatch.setattr(serve, "in_container", lambda: True)
    monkeypatch.setattr(serve.socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0")])
    serve.check_host("0.0.0.0")
    monkeypatch.setattr(serve.socket, "if_nameindex", lambda: [(1, "lo"), (2, "wlp3s0"), (3, "docker0")])
    with pytest.raises(UserError, match="network host"):
        serve.check_host("0.0.0.0")


def test_a_picture_says_nothing_of_its_camera(inside):
    image = Image.fromarray(np.full((64, 64, 3), 90, np.uint8))
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x010E] = "DOE, JANE"
    image.save(out, "JPEG", exif=exif)
    import base64

    shown = inside.get(send(inside, [("a.jpg", out.getvalue())]).headers["location"]).text
    for found in re.findall(r"base64,([^\"]+)", shown):
        assert b"JANE" not in base64.b64decode(found)
