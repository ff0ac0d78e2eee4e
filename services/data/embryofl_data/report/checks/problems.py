"""Files that are skipped, and why; and what else is in the folder."""

from collections.abc import Iterator

from embryofl_data.reading.contract import ADVICE
from embryofl_data.report.facts import ProblemCount
from embryofl_data.report.report import Example, Finding, Verdict, make_finding
from embryofl_data.report.study import Study


def check(study: Study) -> Iterator[Finding]:
    """One finding for each kind of problem."""
    problems = study.facts.problems
    if not any(problem.leaves_out for problem in problems):
        yield make_finding("left-out:none")
    yield from map(_finding, problems)


def _finding(problem: ProblemCount) -> Finding:
    kind, skipped = problem.kind.replace("_", " "), problem.leaves_out
    return Finding(
        id=f"{'left-out' if skipped else 'noted'}-{problem.kind.replace('_', '-')}",
        title=f"{'Skipped' if skipped else 'Noted'}: {kind}",
        verdict=Verdict.LOOK if skipped else Verdict.OK,
        found=f"{problem.count:,} × {problem.meaning}.",
        advice=ADVICE.get(problem.kind, ""),
        shown=tuple(Example((file,), detail) for file, detail in zip(problem.files, problem.details, strict=True)),
        count=problem.count,
    )
