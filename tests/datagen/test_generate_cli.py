"""The command line of the job."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from embryofl_datagen.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_clinics_are_written_and_the_best_score_printed(tmp_path: Path) -> None:
    arguments = ("--clinics", "1", "--images", "20", "--size", "64", "--seed", "3")
    done = run("generate", str(tmp_path / "out"), *arguments)
    assert done.returncode == 0, done.stderr
    assert "best possible AUROC" in done.stderr
    assert (tmp_path / "out" / "clinic-1" / "datagen.json").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--images", "-5", "--images is -5"),
        ("--images", "3", "--images is 3"),
        ("--size", "17", "between 64 and 1024"),
        ("--best-auc", "1.5", "between 0.55 and 0.98"),
        ("--best-auc", "nan", "between 0.55 and 0.98"),
        ("--clinics", "0", "--clinics is 0"),
        ("--only", "9", "--only is 9"),
        ("--seed", "-1", "--seed is -1"),
    ],
)
def test_impossible_settings_are_explained_without_a_traceback(
    tmp_path: Path, option: str, value: str, message: str
) -> None:
    done = run("generate", str(tmp_path / "out"), option, value)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_help_needs_no_heavy_import() -> None:
    code = "import sys, embryofl_datagen.cli; sys.exit(sorted({'torch', 'numpy'} & set(sys.modules)) != [])"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
