"""What a run works with, and how it ends early."""

from collections.abc import Callable
from dataclasses import dataclass

from embryofl.errors import UserError
from embryofl_server.federation.blobs import SignedUrls, Uploads
from embryofl_server.federation.fleet import Fleet
from embryofl_server.federation.mailboxes import Mailboxes
from embryofl_server.members.store import ClinicStore
from embryofl_server.runs.progress import Progress


class Halted(Exception):
    """The run was asked to stop or pause, or the hub is shutting down."""


class RunFailed(UserError):
    """The run cannot continue; the text says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What a run works with.

    Attributes
    ----------
    fleet : Fleet
    store : ClinicStore
    urls : SignedUrls
    uploads : Uploads
    mailboxes : Mailboxes
    progress : Progress
    audit : callable
        Writes an event with its details to the audit log.
    suspend : callable
        Suspends a clinic: its name and the reason.
    idle_at : callable
        When a clinic last reported that it has nothing to do (Unix time, 0 = never).
    """

    fleet: Fleet
    store: ClinicStore
    urls: SignedUrls
    uploads: Uploads
    mailboxes: Mailboxes
    progress: Progress
    audit: Callable[..., None]
    suspend: Callable[[str, str], object]
    idle_at: Callable[[str], float]
