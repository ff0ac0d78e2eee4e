"""`embryofl-datagen fetch`: show the terms and ask, fetch what is missing, check, unpack, and say what comes next."""

import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx

from embryofl.errors import UserError
from embryofl.files import write_atomic

from ..progress import ProgressPrinter
from .catalogue import HOSTS, DataSet, find
from .drive import fetch_from_drive
from .publishers import Offer, Remote, offer
from .transfer import PAUSE_S, check, download

CONSENT = "terms.json"
UNPACKING = ".unpacking"
DONE = ".unpacked"
TIMEOUT_S = 30.0

Ask = Callable[[str], bool]


def fetch(
    name: str,
    out: Path,
    ask: Ask,
    report: ProgressPrinter,
    also: Sequence[str] = (),
    hosts: Mapping[str, str] = HOSTS,
    pause_s: float = PAUSE_S,
) -> None:
    """Fetch a public data set.

    Parameters
    ----------
    name : str
        Of the catalogue, or `drive:FILE_ID`.
    out : Path
        Folder; files that are there already are checked and kept.
    ask : callable
        Shown the terms before the first use, True to go on.
    report : ProgressPrinter
        Receives lines for a person.
    also : sequence of str
        Further files of the record, such as other focal planes.
    hosts : mapping of str to str
        Where publishers answer.
    pause_s : float
        Before another attempt after the connection broke.

    Raises
    ------
    UserError
        When the terms are declined; when the publisher cannot be reached, with what to bring and where to put it.
    """
    data_set = find(name)
    wanted = (*data_set.files, *also)
    for file in also:
        if file != Path(file).name or file.startswith("."):
            raise UserError(f"--also {file} was given. Expected the name of a file of the record, without a folder.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with httpx.Client(follow_redirects=True, timeout=TIMEOUT_S) as client:
            _fetch(client, data_set, wanted, out, ask, report, hosts, pause_s)
        for file in wanted:
            _unpack(out, file, report)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror or error}). Name a folder that can.") from error
    report.line(f"{out} holds {data_set.title}.")
    report.line(f"Next: embryofl-clinic import {out} FOLDER {data_set.next}".rstrip())


def _fetch(
    client: httpx.Client,
    data_set: DataSet,
    wanted: Sequence[str],
    out: Path,
    ask: Ask,
    report: ProgressPrinter,
    hosts: Mapping[str, str],
    pause_s: float,
) -> None:
    found: Offer | None = None
    problem = ""
    try:
        if data_set.publisher not in ("request", "drive"):
            found = offer(client, data_set, hosts)
    except httpx.HTTPError as error:
        problem = _why(error)
    except UserError as error:
        problem = str(error)
    _consent(data_set, found.licence if found else "", out, ask, report)
    remotes = {remote.name: remote for remote in found.files} if found else {}
    missing = []
    for file in wanted:
        if (out / file).exists():
            _checked(out / file, remotes.get(file), report)
        else:
            missing.append(file)
    for file in missing:
        try:
            if data_set.publisher == "drive":
                fetch_from_drive(data_set.place, out / file)
            elif file in remotes:
                _download(client, remotes[file], out / file, report, pause_s)
            else:
                raise _bring(data_set, missing, out, problem or _not_offered(data_set, file, remotes))
        except httpx.HTTPError as error:
            raise _bring(data_set, missing, out, _why(error)) from error


def _download(client: httpx.Client, remote: Remote, target: Path, report: ProgressPrinter, pause_s: float) -> None:
    size = f" ({remote.size / 1e6:.0f} MB)" if remote.size >= 0 else ""
    report.line(f"fetching {remote.name}{size}")
    with report.receiving(remote.name, remote.size) as told:
        download(client, remote, target, told, pause_s)
    report.line(f"{remote.name}: {'checksum is right' if remote.checksum else 'the publisher states no checksum'}")


def _checked(path: Path, remote: Remote | None, report: ProgressPrinter) -> None:
    """A file that is there already, fetched before or brought by hand."""
    if remote is not None and remote.checksum:
        check(path, remote)
        report.line(f"{path.name} is there, its checksum is right")
    else:
        report.line(f"{path.name} is there; its checksum is not known here")


def _consent(data_set: DataSet, licence: str, out: Path, ask: Ask, report: ProgressPrinter) -> None:
    terms = {"data_set": data_set.name, "terms": data_set.terms, "licence": licence, "page": data_set.page}
    report.line(f"{data_set.title}\n  {data_set.page}\n  Terms: {data_set.terms}.")
    if licence:
        report.line(f"  The publisher's record says: {licence}.")
    path = out / CONSENT
    try:
        accepted = json.loads(path.read_text())
    except (OSError, ValueError):
        accepted = None
    # A licence that could not be read again, being offline, is no other licence.
    if isinstance(accepted, dict) and accepted == {**terms, "licence": licence or accepted.get("licence", "")}:
        return
    if not ask("Do you accept these terms?"):
        raise UserError(
            "The terms were not accepted, and nothing was fetched. Start again with --accept-terms to accept."
        )
    write_atomic(path, (json.dumps(terms, indent=1) + "\n").encode())


def _why(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        hint = (
            ": accept its rules on its page, and look whether your token is still valid" if status in (401, 403) else ""
        )
        return f"{error.request.url.host} answered {status}{hint}"
    return f"{error.request.url.host} cannot be reached ({type(error).__name__})"


def _not_offered(data_set: DataSet, file: str, remotes: Mapping[str, Remote]) -> str:
    if data_set.publisher == "request":
        return "this data set has no public address, its authors send it"
    return f"the record holds no {file}, but {', '.join(remotes)}"


def _bring(data_set: DataSet, missing: Sequence[str], out: Path, why: str) -> UserError:
    listed = "\n".join(f"  {file}" for file in missing)
    return UserError(
        f"{data_set.name} could not be fetched: {why.rstrip('.')}.\nBring, from {data_set.page}, the files\n{listed}\ninto "
        f"{out.resolve()} and start the same command again: it goes on from there."
    )


def _unpack(out: Path, name: str, report: ProgressPrinter) -> None:
    """Unpack a tar archive; zip archives stay as they are, as the import reads them in place."""
    path = out / name
    if name.endswith(".zip"):
        if not zipfile.is_zipfile(path):
            raise UserError(f"{path} is no zip archive. Remove it and start again, or bring it again.")
        return
    if not name.endswith((".tar.gz", ".tgz", ".tar")) or (out / f"{DONE}-{name}").exists():
        return
    report.line(f"unpacking {name}")
    staging = out / UNPACKING
    try:
        with tarfile.open(path) as archive:
            archive.extractall(staging, filter="data")  # refuses what leads out, links and devices
        for inside in sorted(staging.iterdir()):
            _join(inside, out / inside.name)
        staging.rmdir()
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise UserError(
            f"{path} cannot be unpacked ({error}). Expected the archive as published: remove it and start again, or bring "
            "it again."
        ) from error
    (out / f"{DONE}-{name}").touch()


def _join(inside: Path, target: Path) -> None:
    """Move what was unpacked to its place, into folders that are there already."""
    if inside.is_dir() and target.is_dir():
        for path in sorted(inside.iterdir()):
            _join(path, target / path.name)
        inside.rmdir()
    else:
        inside.replace(target)
