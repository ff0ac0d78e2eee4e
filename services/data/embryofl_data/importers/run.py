"""`embryofl-clinic import`: say what will be done and by which rule, then do it."""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from embryofl.errors import UserError
from embryofl_data.importers.plan import Options, SkippedFile
from embryofl_data.importers.registry import choose_importer
from embryofl_data.importers.rules import find_rule
from embryofl_data.importers.source import open_source
from embryofl_data.importers.write import MANIFEST, carry_out, prepare

Say = Callable[[str], object]
REASONS_SHOWN = 12


def import_source(
    place: Path,
    out: Path,
    layout: str,
    rule_name: str,
    options: Options,
    dry_run: bool,
    say: Say,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Import a source into a data folder.

    Parameters
    ----------
    place : Path
        A folder or a zip archive, only read.
    out : Path
        New or empty folder.
    layout, rule_name : str
        Names, "" for what the source itself tells.
    options : Options
        For the importer.
    dry_run : bool
        Only say what would be done.
    say : callable
        Takes lines for a person.
    told : callable, optional
        Takes (images done, images in all).

    Raises
    ------
    UserError
        When something has to be decided or mended first.
    """
    source = open_source(place)
    importer, evidence = choose_importer(source, layout)
    say(f"Layout {importer.name}: {importer.title} ({_plain(evidence)}).")
    rule = find_rule(rule_name or importer.usual_rule, importer.rules)
    say(f"Rule {rule.id}: {rule.text}")
    say(f"Label 1 then means: {rule.meaning} (to be declared so when joining).")
    plan = importer.plan(source, options)
    for note in plan.notes:
        say(f"Note: {_plain(note)}.")
    if not plan.rows:
        reasons = "; ".join(f"{reason} ({count})" for reason, count in _reasons(plan.left_out)[:3])
        raise UserError(
            f"No image of {place} is as asked for{': ' + _plain(reasons) if reasons else ''}. Look at the "
            "layout and at the options."
        )
    decided = [rule.decide(row.facts) for row in plan.rows]
    labels = Counter(label for label, _ in decided)
    say(f"{len(decided)} images: {labels[1]} with label 1, {labels[0]} with label 0, {labels[None]} unlabelled.")
    _say_reasons(say, "unlabelled", (reason for label, reason in decided if label is None))
    if dry_run:
        _say_reasons(say, "left out", (item.reason for item in plan.left_out))
        say("Nothing was written.")
        return
    prepare(place, out)
    taken, left_out = carry_out(source, importer, plan, rule, out, told)
    _say_reasons(say, "left out", (item.reason for item in left_out))
    say(f"{len(taken)} images written to {out}; {MANIFEST} there says which rule gave each label.")
    say(f"Next: embryofl-clinic check {out}")


def _reasons(left_out: Iterable[SkippedFile]) -> list[tuple[str, int]]:
    return Counter(item.reason for item in left_out).most_common()


def _say_reasons(say: Say, what: str, reasons: Iterable[str]) -> None:
    found = Counter(reasons).most_common()
    for reason, count in found[:REASONS_SHOWN]:
        say(f"  {what}: {count} ({_plain(reason)})")
    if len(found) > REASONS_SHOWN:
        say(
            f"  {what}: {sum(count for _, count in found[REASONS_SHOWN:])} for {len(found) - REASONS_SHOWN} other reasons"
        )


def _plain(text: str) -> str:
    """Text without control characters: file names come from anywhere and must not act on a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
