"""The clinic app: access, hostile uploads, and the page of a scored cohort."""

import base64
import dataclasses
import hashlib
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from embryofl.errors import UserError
from embryofl_clinic.app import access, scoring_service, serve
from embryofl_clinic.settings import ClinicSettings
from embryofl_web import sessions
from kits.clinic_app import started_app
from kits.console_routes import filled, routes
from kits.scoring import draw_embryo, finished_model, png

BASE = "http://127.0.0.1:8088"
POST = {"Origin": BASE}


@pytest.fixture
def page(tmp_path):
    """A client of an app with a model; `links`: the printed links, `state`: its state folder, `guard`: the ASGI app."""
    state = tmp_path / "state"
    finished_model(state / "models" / "run-0001")
    links = []
    app = started_app(ClinicSettings(state_dir=state, data_dir=tmp_path / "data"), links)
    client = TestClient(app, base_url=BASE, follow_redirects=False)
    client.links, client.state, client.guard = links, state, app
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
    "/app.css",
    "/scored/20260101-000000-00000000",
    "/nothing",
    "/report.css",
    "/enter",
    "/enter?token=",
    "/enter?token=guessed",
]


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_served_without_the_link(page, path):
    response = page.get(path)
    status = 403 if path.startswith("/enter") else 401
    assert response.status_code == status and "link" in response.text and "run-0001" not in response.text
    for guess in ("guessed", "", "0" * 43, hashlib.sha256(b"guessed").hexdigest()):
        page.cookies.set("embryofl_clinic_8088", guess)
        assert page.get(path).status_code == page.head(path).status_code == status
        assert page.post(path, headers=POST, content=b"").status_code in (401, 403)


def test_session_expires_and_too_many_sessions_end_the_oldest(page, monkeypatch):
    clients = [TestClient(page.guard, base_url=BASE) for _ in range(sessions.MOST_SESSIONS + 1)]
    for client in clients:
        client.get(page.links[-1])
    assert [c.get("/").status_code for c in clients] == [401] + [200] * sessions.MOST_SESSIONS
    now = sessions.time.monotonic()
    monkeypatch.setattr(sessions.time, "monotonic", lambda: now + sessions.SESSION_S + 60)
    assert {c.get("/").status_code for c in clients} == {401}


def test_link_works_once_and_scripts_and_other_sites_cannot_read_its_cookie(page):
    link = page.links[-1]
    cookie = page.get(link).headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert page.get("/").status_code == 200
    stranger = TestClient(page.guard, base_url=BASE)
    assert stranger.get(link).status_code == 403 and stranger.get("/").status_code == 401
    assert page.links[-1] != link and stranger.get(page.links[-1]).status_code == 200
    page.post("/leave", headers=POST)
    assert page.get("/").status_code == 401


def test_apps_on_two_ports_do_not_replace_each_others_session(page, tmp_path):
    """Browsers send cookies to all ports of a host name."""
    links = []
    app = started_app(ClinicSettings(state_dir=tmp_path / "other", data_dir=tmp_path / "data"), links)
    other = TestClient(app, base_url="http://127.0.0.1:8089", follow_redirects=False)
    other.cookies.jar = page.cookies.jar  # one browser
    page.get(page.links[-1])
    assert other.get(links[-1]).status_code == 200
    assert page.get("/").status_code == other.get("/").status_code == 200
    other.post("/leave", headers={"Origin": "http://127.0.0.1:8089"})
    assert other.get("/").status_code == 401 and page.get("/").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.1.7:8088", "localhost.", ""])
def test_request_for_another_host_name_is_rejected(inside, host):
    response = inside.get("/", headers={"Host": host})
    assert response.status_code == 421 and "run-0001" not in response.text


def test_every_route_rejects_strangers_other_sites_and_other_host_names(inside):
    listed = set(routes(inside.guard.app))
    assert len(listed) > 12 and ("POST", "/score") in listed
    stranger = TestClient(inside.guard, base_url=BASE, follow_redirects=False)
    statuses = {(m, p): stranger.request(m, filled(p), headers=POST).status_code for m, p in listed}
    opened = {("GET", "/web.css"): 200, ("GET", "/enter"): 403, ("HEAD", "/enter"): 403}
    assert {a: s for a, s in statuses.items() if s != 401} == opened
    for method, path in listed:
        assert inside.request(method, filled(path), headers={"Origin": "http://evil.example"}).status_code == 403
        assert inside.request(method, filled(path), headers={**POST, "Host": "evil.example"}).status_code == 421


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "http://127.0.0.1:3000", "https://127.0.0.1:8088"]
)
def test_request_from_another_site_does_nothing(inside, origin):
    headers = {} if origin is None else {"Origin": origin}
    response = inside.post("/score", files=[("images", ("a.png", draw_embryo(1)))], headers=headers)
    assert response.status_code == 403 and not (inside.state / "scored").exists()


def test_other_sites_can_neither_read_nor_frame_the_app(inside):
    assert inside.get("/", headers={"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}).status_code == 403
    headers = inside.get("/").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert headers["x-frame-options"] == "DENY" and headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in headers
    assert all(not re.search(r"(src|href|action)=[\"']?(https?:)?//", inside.get(p).text) for p in PATHS[:5])


def test_cohort_is_ranked_with_reencoded_images_that_are_not_kept(inside):
    data = draw_embryo(3)
    response = send(
        inside,
        [("E1.png", data), ("E2.png", draw_embryo(4)), ("E3@1.png", draw_embryo(5)), ("E3@2.png", draw_embryo(6))],
        cohort="<b>A</b>",
    )
    assert response.status_code == 303
    shown = inside.get(response.headers["location"]).text
    assert (
        "Rank 1 of 3" in shown and "Research use only" in shown and "of 100 embryos scored like this" in shown.lower()
    )
    assert "<b>A" not in shown and "&lt;b&gt;A" in shown and "does not prove" in shown
    assert shown.count("data:image/jpeg;base64,") == 8 and "data:image/png" not in shown
    (record,) = (inside.state / "scored").iterdir()
    kept = json.loads(record.read_text())
    assert kept["images"] == {} and "base64" not in record.read_text()
    assert kept["scores"]["models"][0]["run"] == "run-0001" and len(kept["digests"]) == 4
    assert "were not kept" in restarted(inside).get(response.headers["location"]).text


def restarted(before):
    """A client of the same state folder after a restart of the app."""
    links = []
    app = started_app(ClinicSettings(state_dir=before.state), links)
    client = TestClient(app, base_url=BASE)
    client.get(links[-1])
    return client


def test_images_are_kept_on_request(inside):
    response = send(inside, [("E1.png", draw_embryo(1))], keep="yes")
    assert "data:image/jpeg" in restarted(inside).get(response.headers["location"]).text


def drawn(form, size, **options):
    out = io.BytesIO()
    Image.new("L", size, 90).save(out, form, **options)
    return out.getvalue()


BOMB = b"\x89PNG\r\n\x1a\n" + png(30000, 30000)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><script>alert(1)</script>"


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.svg", SVG, "not an image of a known type"),
        ("html.png", HTML, "not an image of a known type"),
        ("bomb.png", BOMB, "too large"),
        ("cut.png", draw_embryo(1)[:900], "truncated"),
        ("cut.jpg", drawn("JPEG", (900, 900))[:700], "truncated"),
        ("empty.png", b"", "no content"),
        ("wide.png", drawn("PNG", (60_000, 1000)), "too large"),  # valid, 60 million pixels in 60 kB
        ("long.tif", drawn("TIFF", (1000, 60_000), compression="tiff_lzw"), "too large"),
        ("dot.png", drawn("PNG", (1, 1)), "too small"),
        ("archive.png", b"PK\x03\x04" + b"\0" * 100, "not an image of a known type"),
        ("page.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 90 90\n", "not an image of a known type"),
        ("<img src=x onerror=alert(1)>.png", HTML, "not an image of a known type"),
    ],
)
def test_hostile_file_is_reported_and_never_sent_back(inside, name, data, words):
    response = send(inside, [(name, data), ("good.png", draw_embryo(2))])
    shown = inside.get(response.headers["location"]).text
    assert words in shown and "Rank 1 of 1" in shown
    assert "alert(1)</script>" not in shown and "<img src=x" not in shown


NAMES = [
    "../../etc/passwd.png",
    "x/../E.png",
    "..\\..\\identity\\clinic.key",
    "/etc/shadow",
    "C:\\E.png",
    "..",
    ".",
    "a\0b.png",
    "E.png",
    "E.png",
    "x" * 3000 + ".png",
    "\u202egnp.E",
    "'\"><script>alert(1)</script>.png",
    "@.png",
    "{0.__class__}.png",
]


def test_file_name_can_neither_reach_another_path_nor_break_a_page(inside):
    before = sorted(p for p in inside.state.rglob("*") if p.is_file())
    response = send(inside, [(name, draw_embryo(n)) for n, name in enumerate(NAMES)], cohort="{t.door}\u202e</title>")
    shown = inside.get(response.headers["location"]).text
    assert (
        "../" not in shown
        and "<script>alert" not in shown
        and "\u202e" not in shown
        and "</title></title>" not in shown
    )
    (record,) = [p for p in inside.state.rglob("*") if p.is_file() and p not in before]
    names = list(json.loads(record.read_text())["digests"])
    assert record.parent.name == "scored" and len(names) == len(NAMES) and max(map(len, names)) < 130
    assert not any("/" in name or "\\" in name for name in names)


def test_too_many_files_and_too_large_uploads_are_rejected_with_the_limit(inside, monkeypatch):
    response = send(inside, [(f"{n}.png", b"x") for n in range(61)])
    assert response.status_code == 400 and "at most 60" in response.text
    response = send(inside, [(f"{n}.png", b"x") for n in range(10_000)])
    assert response.status_code == 400 and "at most 60" in response.text and not (inside.state / "scored").exists()
    monkeypatch.setattr(scoring_service, "MOST_FILE_BYTES", 1000)
    shown = inside.get(send(inside, [("a.png", draw_embryo(1))]).headers["location"]).text
    assert "the maximum here" in shown and "data:image" not in shown
    assert "No image was chosen" in inside.post("/score", data={"cohort": "A"}, headers=POST).text
    monkeypatch.setattr(inside.guard, "rules", dataclasses.replace(access.RULES, most_bytes=1000))
    response = send(inside, [("a.png", b"x" * 2000)])
    assert response.status_code == 413 and "256 MiB" in response.text
    chunked = inside.post("/score", content=iter([b"x"]), headers={**POST, "Content-Type": "multipart/form-data"})
    assert chunked.status_code == 411


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"junk"),
        ("multipart/form-data; boundary=x", b"junk"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="images"; filename="' + b"x" * 5000,
        ),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"a: b\r\n" * 500),
        ("application/json", b'{"images": ["file:///etc/passwd"]}'),
        ("application/x-www-form-urlencoded", b"images=/etc/passwd&" + b"a=b&" * 5000),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="cohort"\r\n\r\n' + b"x" * (2 << 20),
        ),
    ],
)
def test_malformed_form_is_rejected_with_what_was_expected(inside, kind, body):
    response = inside.post("/score", content=body, headers={**POST, "Content-Type": kind})
    assert response.status_code == 400 and ("Expected" in response.text) and "Traceback" not in response.text
    assert not (inside.state / "scored").exists()


@pytest.mark.parametrize("id_", ["..%2f..%2fidentity%2fhub", "20260101-000000-zzzzzzzz", "x", "%2e%2e/%2e%2e/identity"])
def test_record_can_only_be_opened_by_its_id(inside, id_):
    assert inside.get(f"/scored/{id_}").status_code == 404
    assert inside.get(f"/static/{id_}").status_code == 404


@pytest.mark.parametrize("host", ["192.168.1.7", "example.org", "::", "0.0.0.0"])
def test_app_listens_on_loopback_only(host, monkeypatch):
    monkeypatch.setattr(serve, "in_container", lambda: False)
    with pytest.raises(UserError, match="loopback"):
        serve.check_host(host)
    serve.check_host("127.0.0.1")


def test_container_may_listen_everywhere_only_on_its_own_network(monkeypatch):
    monkeypatch.setattr(serve, "in_container", lambda: True)
    monkeypatch.setattr(serve.socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0")])
    serve.check_host("0.0.0.0")
    monkeypatch.setattr(serve.socket, "if_nameindex", lambda: [(1, "lo"), (2, "wlp3s0"), (3, "docker0")])
    with pytest.raises(UserError, match="network host"):
        serve.check_host("0.0.0.0")


def test_shown_image_has_no_metadata(inside):
    image = Image.fromarray(np.full((64, 64, 3), 90, np.uint8))
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x010E] = "DOE, JANE"
    image.save(out, "JPEG", exif=exif)
    shown = inside.get(send(inside, [("a.jpg", out.getvalue())]).headers["location"]).text
    for image in re.findall(r"base64,([^\"]+)", shown):
        assert b"JANE" not in base64.b64decode(image)
