"""`embryofl-clinic import`: print what will be done and by which rule, then do it."""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from embryofl.errors import UserError
from embryofl_data.importers import dicom, embryoscope, gomez, kromp, listed, saeedi, stork, table
from embryofl_data.importers.plan import Importer, Options, Plan
from embryofl_data.importers.rules import find_rule
from embryofl_data.importers.source import Source, open_source
from embryofl_data.importers.write import MANIFEST, write_folder
from embryofl_data.output import keep_apart
from embryofl_data.progress import OnProgress, no_progress
from embryofl_data.reading.contract import printable

IMPORTERS = (
    listed.HUNGVUONG,
    kromp.IMPORTER,
    gomez.IMPORTER,
    stork.IMPORTER,
    saeedi.IMPORTER,
    listed.FILE_NAMES,
    listed.CLASS_FOLDERS,
    dicom.IMPORTER,
    embryoscope.IMPORTER,
    table.IMPORTER,
)
"""In the order in which they are tried."""
REASONS_SHOWN = 12


def choose_importer(source: Source, name: str) -> tuple[Importer, str]:
    """The importer of this name, or the first that recognises the layout, and the evidence.

    Raises
    ------
    UserError
        When no importer has this name, or none recognises the layout.
    """
    names = ", ".join(importer.name for importer in IMPORTERS)
    if name:
        for importer in IMPORTERS:
            if importer.name == name:
                return importer, "as requested"
        raise UserError("D2", f"The layout {name} was requested. Expected one of {names}.")
    for importer in IMPORTERS:
        if evidence := importer.detect(source):
            return importer, evidence
    raise UserError(
        "D2",
        f"The layout of {len(source.images)} images in {source.root} is not known. Expected one of {names}. Name it with "
        "--layout, or describe a table's columns with --layout table --map image=COLUMN --map label=COLUMN.",
    )


def import_source(
    place: Path,
    out: Path,
    layout: str,
    rule_name: str,
    options: Options,
    dry_run: bool,
    show: Callable[[str], object],
    on_progress: OnProgress = no_progress,
) -> None:
    """Import a source into a data folder.

    Parameters
    ----------
    place : Path
        A folder or a zip archive, only read.
    out : Path
        New or empty folder.
    layout, rule_name : str
        Names, "" to detect the layout and use its usual rule.
    dry_run : bool
        Only print what would be done.
    show : callable
        Takes lines for a person.
    on_progress : callable, optional
        Takes (images done, images in all).

    Raises
    ------
    UserError
        When something has to be decided or corrected first.
    """

    def show_reasons(what: str, reasons: Iterable[str]) -> None:
        counts = Counter(reasons).most_common()
        for reason, count in counts[:REASONS_SHOWN]:
            show(f"  {what}: {count} ({printable(reason)})")
        if rest := counts[REASONS_SHOWN:]:
            show(f"  {what}: {sum(count for _, count in rest)} for {len(rest)} other reasons")

    source = open_source(place)
    importer, evidence = choose_importer(source, layout)
    show(f"Layout {importer.name}: {importer.title} ({printable(evidence)}).")
    rule = find_rule(rule_name or ("stated" if "stated" in importer.rules else ""), importer.rules)
    show(f"Rule {rule.id}: {rule.text}")
    show(f"Label 1 then means: {rule.meaning}. Declare this meaning when joining.")
    plan = Plan(skipped=list(source.skipped))
    importer.fill(plan, source, options)
    for note in plan.notes:
        show(f"Note: {printable(note)}.")
    if not plan.images:
        counts = Counter(item.reason for item in plan.skipped).most_common(3)
        reasons = "; ".join(f"{reason} ({count})" for reason, count in counts)
        raise UserError(
            "D2",
            f"No image of {place} matches the layout and the options{': ' + printable(reasons) if reasons else ''}. Check "
            "both.",
        )
    decisions = [rule.decide(image.facts) for image in plan.images]
    labels = Counter(label for label, _ in decisions)
    show(f"{len(decisions)} images: {labels[1]} with label 1, {labels[0]} with label 0, {labels[None]} unlabelled.")
    show_reasons("unlabelled", (reason for label, reason in decisions if label is None))
    if dry_run:
        show_reasons("skipped", (item.reason for item in plan.skipped))
        show("Nothing was written.")
        return
    keep_apart(place, out)
    imported = write_folder(source, importer, plan, rule, out, on_progress)
    show_reasons("skipped", (item.reason for item in plan.skipped))
    show(f"{len(imported)} images written to {out}. {MANIFEST} in that folder records which rule gave each label.")
    show(f"Next: embryofl-clinic check {out}")
