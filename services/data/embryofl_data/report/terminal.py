"""The report for a terminal."""

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from embryofl_data.report.facts import Counts, FolderFacts
from embryofl_data.report.finding import Finding, Verdict
from embryofl_data.report.report import DataReport

EXAMPLES = 4
STYLES = {Verdict.OK: "green", Verdict.LOOK: "yellow", Verdict.STOP: "bold red"}


def print_report(report: DataReport, console: Console) -> None:
    """Print a report for a person at the clinic."""
    facts = report.facts
    console.print(f"[bold]Data folder[/bold] {shown(facts.root)}", soft_wrap=True)
    if facts.layout:
        console.print(f"Layout: {facts.layout}")
        console.print(_count_table("Images that can be used", {"": facts.counts}))
        console.print(_patients_line(facts))
        if facts.split:
            console.print(_count_table("Split by patient", facts.split))
    for finding in report.findings:
        if finding.verdict is not Verdict.OK:
            _print_finding(finding, console)
    fine = [finding for finding in report.findings if finding.verdict is Verdict.OK]
    if fine:
        console.print("[green]ok[/green]  " + "; ".join(shown(finding.found.rstrip(".")) for finding in fine) + ".")
    if not report.pixels_looked_at:
        console.print(
            f"[dim]Doubles, text in images, blur and shortcuts: embryofl-clinic check {shown(facts.root)}[/dim]",
            soft_wrap=True,
        )
    if facts.can_train:
        style = STYLES[report.verdict]
        console.print(f"[bold green]can train[/bold green], verdict [{style}]{report.verdict}[/{style}]")
    else:
        console.print(f"[bold red]cannot train:[/bold red] {shown(facts.reason)}", soft_wrap=True)


def _print_finding(finding: Finding, console: Console) -> None:
    style = STYLES[finding.verdict]
    console.print(f"[{style}]{finding.verdict:<4}[/{style}]  [bold]{shown(finding.title)}[/bold]")
    for text in (finding.found, finding.expected, finding.advice):
        if text:
            console.print(Padding(shown(text), (0, 0, 0, 6)))
    for example in finding.shown[:EXAMPLES]:
        note = f"  [dim]{shown(example.note)}[/dim]" if example.note else ""
        console.print(f"        {shown(' = '.join(example.files))}{note}", soft_wrap=True)
    if finding.shown and finding.count > EXAMPLES:
        console.print(f"        and {finding.count - len(finding.shown[:EXAMPLES])} more")


def _count_table(title: str, sides: dict[str, dict[str, Counts]]) -> Table:
    table = Table(title=title, title_justify="left")
    named = list(sides) != [""]
    for column in (["side"] if named else []) + ["day", "label 1", "label 0"] + ([] if named else ["unlabelled"]):
        table.add_column(column, justify="left" if column == "side" else "right")
    for side, days in sides.items():
        for day, labels in days.items():
            counts = [str(labels["1"]), str(labels["0"])] + ([] if named else [str(labels["unlabelled"])])
            table.add_row(*([side] if named else []), day, *counts)
    return table


def _patients_line(facts: FolderFacts) -> str:
    parts = [
        text
        for count, text in (
            (facts.patients, f"{facts.patients} patients"),
            (facts.embryos, f"{facts.embryos} embryos of no known patient"),
            (facts.lone_images, f"{facts.lone_images} images of no known patient or embryo"),
        )
        if count
    ]
    cohorts = ", ".join(f"{size}: {count}" for size, count in facts.cohorts.items())
    return f"{', '.join(parts) or 'No images'}. Images of each (images: how many): {cohorts or '-'}."


def shown(text: str) -> str:
    """Text from file names, without control characters or markup that would act on the terminal."""
    return escape("".join(char if char.isprintable() else "?" for char in text))
