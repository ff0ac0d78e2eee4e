"""Commands in README and docs work as written, and the tests that they name exist."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kits.code_blocks import PAGES, ROOT, blocks
from kits.federation import processes_of, until
from kits.ports import free_port

BIN = Path(sys.executable).parent
HERE = [b for b in blocks() if not b.containers]
LIMIT_S = 500


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Of a reader who goes through the pages one after another: what a demo has drawn is there for the next one."""
    return tmp_path_factory.mktemp("reader")


@pytest.fixture(scope="module")
def images(home):
    """The folder that the pages call /path/to/images."""
    folder = home / "images"
    draw = [BIN / "embryofl-datagen", "generate", folder, "--only", "1", "--images", "150", "--size", "128"]
    subprocess.run(draw, check=True, capture_output=True, timeout=LIMIT_S)
    return folder


@pytest.fixture
def reader(home):
    """Environment for the commands: small runs, separate ports and state; everything is stopped afterwards."""
    environment = {
        **os.environ,
        "VENV": str(BIN.parent),
        "EMBRYOFL_DEMO_DIR": str(home / "demo"),
        "EMBRYOFL_MONITOR_DIR": str(home / "monitor"),
        "MONITOR_PORT": str(free_port()),
        "PORT": str(free_port()),
        "SET": "rounds=1,local_epochs=1,image_size=32,model=small_cnn",
        "IMAGES": "60",
    }
    yield environment
    subprocess.run(["make", "down"], cwd=ROOT, env=environment, capture_output=True, timeout=60, check=False)
    assert processes_of(home) == []


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize("block", [b for b in HERE if not b.terminals], ids=str)
def test_the_commands_of_a_page_run(block, images, reader):
    text = block.text.replace("/path/to/images", str(images)).replace(".embryofl/venv/bin", str(BIN))
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", text],
        cwd=ROOT,
        env=reader,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize("block", [b for b in HERE if b.terminals], ids=str)
def test_long_running_commands_start_in_the_given_order(block, tmp_path, reader):
    if "make monitor" in block.text and shutil.which("prometheus") is None:
        pytest.skip("needs Debian's prometheus package")
    running = []
    try:
        for line in block.text.splitlines():
            out = tmp_path / f"{len(running)}.txt"
            with out.open("wb") as file:
                running.append(
                    subprocess.Popen(
                        line.split(), cwd=ROOT, env=reader, stdout=file, stderr=file, start_new_session=True
                    )
                )
            until(f"{line} prints how to end it: {out}", lambda out=out: "Ctrl-C" in out.read_text(), LIMIT_S)
            assert [p.poll() for p in running] == [None] * len(running)
    finally:
        for process in reversed(running):
            os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in its terminal: make's children get it too
            process.wait(30)


def test_the_two_commands_of_the_readme_are_what_ci_runs():
    assert "`make test`" in (ROOT / "README.md").read_text()
    assert re.search(r"^make test-all$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert any("make demo CLINICS=3" in b.text and b.page == "README.md" for b in HERE)
    assert any("make up CLINICS=3" in b.text for b in blocks() if b.containers)


def test_every_test_that_a_page_names_exists():
    """Pages refer to a test by its name or by its file."""
    files = {path: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    existing = {path.name for path in files} | {str(path.relative_to(ROOT)) for path in files}
    existing |= {name for text in files.values() for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}
    named = {
        (page.name, n)
        for page in PAGES
        for n in re.findall(r"`((?:tests/[\w/]+/)?test_\w+(?:\.py)?)`", page.read_text())
    }
    assert len(named) > 40
    assert sorted(f"{page}: {name}" for page, name in named if name not in existing) == []
