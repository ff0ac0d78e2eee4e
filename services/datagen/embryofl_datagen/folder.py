"""What a folder already holds: nothing, the same clinic, a job cut off, or something that is not ours to touch."""

import json
from dataclasses import dataclass
from pathlib import Path

from embryofl.errors import UserError
from embryofl_data.progress import ProgressPrinter

from .plan import FORMAT, Settings, parameters

SUMMARY, LABELS, IMAGES = "datagen.json", "labels.csv", "images"
# There from the first byte to the last; a folder that has it is not finished.
UNFINISHED = "datagen.unfinished.json"


@dataclass(frozen=True)
class Target:
    """One clinic to be written into one folder."""

    clinic: int
    folder: Path


def marks(clinic: int, settings: Settings) -> dict[str, object]:
    """What two folders must have in common to hold the same bytes."""
    return {"format": FORMAT, "parameters": parameters(clinic, settings)}


def check_parent(out: Path) -> None:
    """Raise `UserError` when a folder for several clinics holds anything but clinics."""
    if not out.exists():
        return
    _check_is_folder(out)
    strange = sorted(p.name for p in out.iterdir() if not _is_clinic_name(p.name))
    if strange:
        raise UserError(
            f"{out} holds {_some(strange)}, but synthetic clinics are only written into an empty folder or beside "
            "others of their kind. Nothing was touched. Choose another folder."
        )


def _is_clinic_name(name: str) -> bool:
    return name.startswith("clinic-") and name[7:].isdigit()


def _check_is_folder(path: Path) -> None:
    if not path.is_dir():
        raise UserError(f"{path} is a file, but a folder is needed. Nothing was touched. Choose another name.")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def is_finished(target: Target, settings: Settings, report: ProgressPrinter) -> bool:
    """Whether the folder already holds this clinic; `UserError` when it holds anything else."""
    folder = target.folder
    if not folder.exists():
        return False
    _check_is_folder(folder)
    leftovers = {"lost+found", UNFINISHED + ".tmp", LABELS + ".tmp", SUMMARY + ".tmp"}
    names = sorted(p.name for p in folder.iterdir() if p.name not in leftovers)
    if not names:
        return False
    wanted = marks(target.clinic, settings)
    ours = {SUMMARY, LABELS, IMAGES}
    if SUMMARY in names and UNFINISHED not in names:
        found = _read_marks(folder / SUMMARY)
        if found != wanted:
            raise UserError(
                f"{folder} holds a clinic made with {_told(found)}, but {_told(wanted)} was asked for. Nothing was "
                "touched. Ask for the same again, remove the folder, or choose another."
            )
        missing = sorted(ours - set(names))
        if missing:
            raise UserError(
                f"{folder} holds a generated clinic without its {_some(missing)}. Nothing was touched. Remove the "
                "folder and generate again."
            )
        report.line(f"clinic {target.clinic}: {folder} is already there with the same settings, nothing to do")
        return True
    strange = sorted(set(names) - ours - {UNFINISHED})
    if UNFINISHED in names and not strange:
        found = _read_marks(folder / UNFINISHED)
        if found == wanted:
            report.line(f"clinic {target.clinic}: an earlier job was cut off in {folder}, writing it again")
            return False
        raise UserError(
            f"{folder} holds a clinic cut off while it was made with {_told(found)}, but {_told(wanted)} was asked "
            "for. Nothing was touched. Ask for the same again, remove the folder, or choose another."
        )
    raise UserError(
        f"{folder} holds {_some(strange or names)}, but a synthetic clinic is only written into an empty folder. "
        "Nothing was touched. Choose another folder."
    )


def _read_marks(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {"format": content["format"], "parameters": dict(content["parameters"])}
    except (ValueError, KeyError, TypeError):
        return {}


def _told(marks: dict[str, object]) -> str:
    values = marks.get("parameters")
    if not isinstance(values, dict):
        return "unknown settings"
    return f"format {marks['format']}, " + ", ".join(f"{name} {value}" for name, value in values.items())
