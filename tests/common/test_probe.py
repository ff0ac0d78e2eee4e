"""The check that containers run: whether a service replies."""

import contextlib
import subprocess
import sys

import pytest

from kits.answering import answering, reply
from kits.tls import Authority


@pytest.fixture
def serve():
    def respond(handler):
        reply(handler, b"", int(handler.path[1:]) if handler.headers["Host"] != "console" else 503)

    with contextlib.ExitStack() as servers:

        def start(context=None):
            server = servers.enter_context(answering(respond, context))
            return f"{'https://localhost' if context else 'http://127.0.0.1'}:{server.server_port}"

        yield start


def probe(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "embryofl.probe", *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


def test_reply_below_500_is_healthy_whatever_else_it_says(serve):
    address = serve()
    assert [probe(f"{address}/{status}") for status in (200, 401, 404)] == [(0, "")] * 3


def test_unhealthy_service_is_named_with_what_it_replied(serve):
    address = serve()
    assert probe(f"{address}/500") == (1, f"{address}/500 replies with status 500.\n")
    assert probe(f"{address}/200", "--host", "console") == (1, f"{address}/200 replies with status 503.\n")
    code, words = probe("http://127.0.0.1:9/")
    assert code == 1 and words.startswith("http://127.0.0.1:9/ does not reply: ")


def test_https_reply_counts_only_under_the_given_authority(serve, tmp_path):
    authority, other = Authority(), Authority()
    address = serve(authority.context(tmp_path, "localhost"))
    for name, pem in (("ours", authority.pem), ("other", other.pem)):
        (tmp_path / name).write_text(pem)
    assert probe(f"{address}/200", "--ca", str(tmp_path / "ours")) == (0, "")
    code, words = probe(f"{address}/200", "--ca", str(tmp_path / "other"))
    assert code == 1 and "does not reply" in words and len(words.splitlines()) == 1


def test_probe_imports_the_standard_library_alone():
    code = "import sys; had = {*sys.modules}; import embryofl.probe; print(*{m.split('.')[0] for m in {*sys.modules} - had})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) - sys.stdlib_module_names == {"embryofl"}
