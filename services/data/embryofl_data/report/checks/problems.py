"""Files that are left out, and why; and what else is in the folder."""

from collections.abc import Iterator

from embryofl_data.report.facts import ProblemCount
from embryofl_data.report.finding import Example, Finding, Verdict, plural
from embryofl_data.report.study import Study

ADVICE = {
    "archive": "Unpack it elsewhere and look at it first, or take it in with: embryofl-clinic import SOURCE FOLDER.",
    "bad_label": "Write 1, 0 or nothing into the label cell.",
    "bad_name": "Rename the files.",
    "bad_row": "Mend the rows in the table.",
    "contradiction": "Decide which row is right and remove the other.",
    "dicom": "Take them in with: embryofl-clinic import SOURCE FOLDER --layout dicom.",
    "empty": "Copy them again from their source.",
    "missing": "Copy the files into the folder, or remove the rows.",
    "not_an_image": "Export them as PNG, JPEG, TIFF or BMP.",
    "outside_folder": "Copy the files themselves into the folder: links and paths that lead out are never followed.",
    "special_file": "Remove them: pipes, sockets and devices are never opened.",
    "too_deep": "Move the images nearer to the top of the folder.",
    "too_large": "Export them at the size of the camera's picture, one embryo a file.",
    "too_small": "Export them at the size of the camera's picture.",
    "truncated": "Copy them again from their source.",
    "unreadable": "Copy them again from their source; if that does not help, export them as PNG.",
}


def check(study: Study) -> Iterator[Finding]:
    """One finding for each kind of problem."""
    problems = study.facts.problems
    if not any(problem.leaves_out for problem in problems):
        yield Finding("left-out", "Files left out", Verdict.OK, "Every image that was found can be read.")
    for problem in problems:
        yield _finding(problem)


def _finding(problem: ProblemCount) -> Finding:
    name = problem.kind.replace("_", " ")
    return Finding(
        id=f"left-out-{problem.kind.replace('_', '-')}" if problem.leaves_out else f"noted-{name.replace(' ', '-')}",
        title=f"{'Left out' if problem.leaves_out else 'Noted'}: {name}",
        verdict=Verdict.LOOK if problem.leaves_out else Verdict.OK,
        found=f"{plural(problem.count, 'time')}: {problem.meaning}.",
        advice=ADVICE.get(problem.kind, "") if problem.leaves_out else "",
        shown=tuple(Example((file,), detail) for file, detail in zip(problem.files, problem.details, strict=True)),
        count=problem.count,
    )
