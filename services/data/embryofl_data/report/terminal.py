"""The data report for a terminal."""

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from embryofl_data.reading.contract import printable
from embryofl_data.report.facts import Counts, FolderFacts
from embryofl_data.report.report import DataReport, Finding, Verdict

EXAMPLES = 4
STYLES = {Verdict.OK: "green", Verdict.LOOK: "yellow", Verdict.STOP: "bold red"}


def print_report(report: DataReport, console: Console) -> None:
    """Print a report for a person at the clinic."""
    facts = report.facts
    console.print(f"[bold]Data folder[/bold] {shown(facts.root)}", soft_wrap=True)
    if facts.layout:
        console.print(f"Layout: {facts.layout}")
        console.print(_count_table("Usable images", {"": facts.counts}))
        console.print(_patients_line(facts))
        if facts.split:
            console.print(_count_table("Training, validation and test patients", facts.split))
    for finding in report.findings:
        if finding.verdict is not Verdict.OK:
            _print_finding(finding, console)
    fine = [finding for finding in report.findings if finding.verdict is Verdict.OK]
    if fine:
        console.print("[green]OK[/green]  " + " ".join(shown(finding.found) for finding in fine))
    if not report.pixels_looked_at:
        console.print(
            f"[dim]For near-duplicates, text in images, blur and shortcuts, run: embryofl-clinic check {shown(facts.root)}"
            "[/dim]",
            soft_wrap=True,
        )
    if facts.can_train:
        style = STYLES[report.verdict]
        console.print(f"[bold green]Can train.[/bold green] Result: [{style}]{report.verdict.shown}[/{style}]")
    else:
        console.print(f"[bold red]Cannot train:[/bold red] {shown(facts.reason)}", soft_wrap=True)


def _print_finding(finding: Finding, console: Console) -> None:
    style = STYLES[finding.verdict]
    console.print(f"[{style}]{finding.verdict.shown:<6}[/{style}]  [bold]{shown(finding.title)}[/bold]")
    for text in filter(None, (finding.found, finding.expected, finding.advice)):
        console.print(Padding(shown(text), (0, 0, 0, 8)))
    for example in finding.shown[:EXAMPLES]:
        note = f"  [dim]{shown(example.note)}[/dim]" if example.note else ""
        console.print(f"          {shown(' = '.join(example.files))}{note}", soft_wrap=True)
    if finding.shown and finding.count > EXAMPLES:
        console.print(f"          and {finding.count - len(finding.shown[:EXAMPLES])} more")


def _count_table(title: str, splits: dict[str, dict[str, Counts]]) -> Table:
    table = Table(title=title, title_justify="left")
    all_images = "" in splits
    for column in [] if all_images else ["split"]:
        table.add_column(column)
    for column in ("day", "label 1", "label 0", *(["unlabelled"] if all_images else [])):
        table.add_column(column, justify="right")
    for split, days in splits.items():
        for day, labels in days.items():
            counts = [str(labels[label]) for label in ("1", "0", *(["unlabelled"] if all_images else []))]
            table.add_row(*([] if all_images else [split]), day, *counts)
    return table


def _patients_line(facts: FolderFacts) -> str:
    counts = {
        "patients": facts.patients,
        "embryos of unknown patients": facts.embryos,
        "images of unknown patients and embryos": facts.lone_images,
    }
    listed = ", ".join(f"{count} {noun}" for noun, count in counts.items() if count)
    cohorts = ", ".join(f"{size}: {count}" for size, count in facts.cohorts.items())
    return f"{listed or 'No images'}. Images of each (images: how many): {cohorts or '-'}."


def shown(text: str) -> str:
    """Text from file names, without control characters or markup that would act on the terminal."""
    return escape(printable(text))
