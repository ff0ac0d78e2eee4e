"""The clinics' data: generated, or real images taken from a folder. Both through the jobs a user would run."""

import re
import subprocess
from pathlib import Path

from embryofl.errors import UserError
from embryofl_clinic.policy.rules import ONE_OWNER
from embryofl_data.dividing import count_clinics
from embryofl_demo.layout import DemoFolder, base
from embryofl_demo.stack import program
from embryofl_server.cli.local import local_clinics


def choose_demo(data: Path | None, clinics: int | None) -> tuple[DemoFolder, list[str]]:
    """The federation for this data, and its clinics' names.

    Synthetic clinics may be added later; a divided folder is another federation for another number of clinics.
    """
    if data is not None and not data.is_dir():
        raise UserError(
            "D1", f"DATA={data} is not a folder. Expected a folder of images, or one sub-folder per clinic."
        )
    count, _ = count_clinics(data, clinics)
    stem = re.sub(r"[^a-z0-9]+", "-", data.resolve().name.lower()).strip("-") or "data" if data else ""
    return DemoFolder(base() / (f"{stem}-{count}" if data else "synthetic")), local_clinics(count)


def prepare(demo: DemoFolder, names: list[str], data: Path | None, images: int) -> None:
    """Fill the clinics' folders once; what is complete stays as it is."""
    out = demo.data(".")
    job = ["generate", str(out), f"--images={images}"] if data is None else ["divide", str(data), str(out)]
    if subprocess.run([program("embryofl-datagen"), *job, f"--clinics={len(names)}"], check=False).returncode:
        raise UserError(
            "D5",
            "The clinics' data could not be prepared; the message above says why. Clinics keep their images: to give them "
            "others, run make clean first.",
        )


def allow_metrics(state: Path) -> None:
    """Let a clinic release its own metrics, also on the model card, mask with keys that nobody has compared, and train
    without masks: a demo's clinics all belong to one person. An existing policy stays."""
    policy = state / "policy.toml"
    if not policy.exists():
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        policy.write_text(ONE_OWNER + "show_metrics = true  # the model card may show this clinic's own metrics\n")
