"""`embryofl-datagen fetch`: show the terms and ask, fetch what is missing, check, unpack, and print the next command."""

import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from embryofl.errors import UserError
from embryofl.files import write_atomic
from embryofl_data.fetching.catalogue import HOSTS, DataSet, find
from embryofl_data.fetching.drive import fetch_from_drive
from embryofl_data.fetching.publishers import Remote, offer
from embryofl_data.fetching.transfer import PAUSE_S, check, download
from embryofl_data.progress import ProgressPrinter

CONSENT = "terms.json"
UNPACKING = ".unpacking"
DONE = ".unpacked"
TIMEOUT_S = 30.0
EXPANDS, LEAST_BYTES = 20, 64 << 20  # an archive may hold so many times its size, or so much: pictures hardly compress


def fetch(
    name: str,
    out: Path,
    ask: Callable[[str], bool],
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
        Folder; existing files are checked and kept.
    ask : callable
        Called before the first fetch with the question whether to accept the terms.
    also : sequence of str
        Further files of the record, such as other focal planes.
    hosts : mapping of str to str
        Addresses of the publishers.
    pause_s : float
        Before the next attempt after the connection broke.

    Raises
    ------
    UserError
        When the terms are declined, or the publisher cannot be reached: which files to put where.
    """
    data_set = find(name)
    for file in also:
        if file != Path(file).name or file.startswith("."):
            raise UserError(
                "S7", f"--also {file} was given. Expected the name of a file of the record, without a folder."
            )
    try:
        out.mkdir(parents=True, exist_ok=True)
        with httpx.Client(follow_redirects=True, timeout=TIMEOUT_S) as client:
            _Fetch(client, data_set, (*data_set.files, *also), out, report, pause_s).run(ask, hosts)
        for file in (*data_set.files, *also):
            _unpack(out, file, report)
    except OSError as error:
        raise UserError(
            "D6", f"{out} cannot be written ({error.strerror or error}). Name a folder that you may write to."
        ) from error
    report.line(f"{out} holds {data_set.title}.")
    report.line(f"Next: embryofl-clinic import {out} FOLDER {data_set.next}".rstrip())


@dataclass(frozen=True)
class _Fetch:
    """Fetches the wanted files of one data set."""

    client: httpx.Client
    data_set: DataSet
    wanted: Sequence[str]
    out: Path
    report: ProgressPrinter
    pause_s: float

    def run(self, ask: Callable[[str], bool], hosts: Mapping[str, str]) -> None:
        remotes: dict[str, Remote] = {}
        licence = problem = ""
        try:
            if self.data_set.publisher not in ("request", "drive"):
                files, licence = offer(self.client, self.data_set, hosts)
                remotes = {remote.name: remote for remote in files}
        except httpx.HTTPError as error:
            problem = _describe(error)
        except UserError as error:
            problem = error.text
        self._consent(licence, ask)
        missing = [file for file in self.wanted if not (self.out / file).exists()]
        for file in self.wanted:
            if file not in missing:
                self._check_existing(self.out / file, remotes.get(file))
        for file in missing:
            try:
                if self.data_set.publisher == "drive":
                    fetch_from_drive(self.data_set.place, self.out / file)
                elif file in remotes:
                    self._download(remotes[file])
                else:
                    offered = f"the record has no {file}, only {', '.join(remotes)}"
                    on_request = "this data set has no public address; its authors send it"
                    reason = on_request if self.data_set.publisher == "request" else offered
                    raise self._by_hand(missing, problem or reason)
            except httpx.HTTPError as error:
                raise self._by_hand(missing, _describe(error)) from error

    def _consent(self, licence: str, ask: Callable[[str], bool]) -> None:
        data_set, path = self.data_set, self.out / CONSENT
        terms = {"data_set": data_set.name, "terms": data_set.terms, "licence": licence, "page": data_set.page}
        self.report.line(f"{data_set.title}\n  {data_set.page}\n  Terms: {data_set.terms}.")
        if licence:
            self.report.line(f"  Licence in the publisher's record: {licence}.")
        try:
            accepted = json.loads(path.read_text())
        except (OSError, ValueError):
            accepted = None
        # A licence that cannot be read again, being offline, counts as unchanged.
        if isinstance(accepted, dict) and accepted == {**terms, "licence": licence or accepted.get("licence", "")}:
            return
        if not ask("Do you accept these terms?"):
            raise UserError(
                "D7",
                "The terms were not accepted, so nothing was fetched. To accept them, start again with --accept-terms.",
            )
        write_atomic(path, (json.dumps(terms, indent=1) + "\n").encode())

    def _check_existing(self, path: Path, remote: Remote | None) -> None:
        """A file that was fetched before or downloaded by hand."""
        if remote is not None and remote.checksum:
            check(path, remote)
            self.report.line(f"{path.name} exists, and its checksum is correct")
        else:
            self.report.line(f"{path.name} exists; no checksum was published for it")

    def _download(self, remote: Remote) -> None:
        size = f" ({remote.size / 1e6:.0f} MB)" if remote.size >= 0 else ""
        self.report.line(f"fetching {remote.name}{size}")
        with self.report.receiving(remote.name, remote.size) as on_bytes:
            download(self.client, remote, self.out / remote.name, on_bytes, self.pause_s)
        checked = "checksum is correct" if remote.checksum else "the publisher states no checksum"
        self.report.line(f"{remote.name}: {checked}")

    def _by_hand(self, missing: Sequence[str], reason: str) -> UserError:
        listed = "\n".join(f"  {file}" for file in missing)
        return UserError(
            "D7",
            f"{self.data_set.name} could not be fetched: {reason.rstrip('.')}.\nDownload from {self.data_set.page} the "
            f"files\n{listed}\nput them into {self.out.resolve()}, and start the same command again.",
        )


def _describe(error: httpx.HTTPError) -> str:
    host = error.request.url.host
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        hint = (
            ": accept its rules on its page, and check that your token is still valid" if status in (401, 403) else ""
        )
        return f"{host} replied {status}{hint}"
    return f"{host} cannot be reached ({type(error).__name__})"


@dataclass
class _Within:
    """tarfile's filter "data", which rejects what leads out, links and devices, for so many bytes in all: a small archive
    could fill the disk."""

    left: int

    def __call__(self, member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
        self.left -= member.size
        if self.left < 0:
            raise ValueError(f"it holds more than {EXPANDS} times its size")
        return tarfile.data_filter(member, folder)


def _unpack(out: Path, name: str, report: ProgressPrinter) -> None:
    """Unpack a tar archive; zip archives stay as they are, as the import reads them in place."""
    path = out / name
    if name.endswith(".zip"):
        if not zipfile.is_zipfile(path):
            raise UserError("D7", f"{path} is not a zip archive. Remove it and start again, or download it again.")
        return
    if not name.endswith((".tar.gz", ".tgz", ".tar")) or (out / f"{DONE}-{name}").exists():
        return
    report.line(f"unpacking {name}")
    staging = out / UNPACKING
    try:
        with tarfile.open(path) as archive:
            most = max(LEAST_BYTES, EXPANDS * path.stat().st_size)
            archive.extractall(staging, filter=_Within(most))  # noqa: S202 it asks tarfile's own filter, too
        shutil.copytree(staging, out, symlinks=True, copy_function=os.replace, dirs_exist_ok=True)
        shutil.rmtree(staging)
    except (tarfile.TarError, shutil.Error, EOFError, ValueError) as error:
        raise UserError(
            "D7",
            f"{path} cannot be unpacked ({error}). Expected the archive as published. Remove it and start again, or "
            "download it again.",
        ) from error
    (out / f"{DONE}-{name}").touch()
