"""A fleet of clinics in this process: a clinic's own code replies to a request while it is being sent."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from embryofl.messages import Request, UploadReceipt
from embryofl.schema import Download, Meaning
from embryofl_clinic.exporter import TrainerMetrics
from embryofl_clinic.joining.identity import ClinicIdentity
from embryofl_clinic.masking.attempt import Masking
from embryofl_clinic.policy import rules
from embryofl_clinic.workload.embryo import Workload
from embryofl_clinic.workload.request_handler import RequestHandler
from embryofl_server.federation.blobs import MODEL_PREFIX, Uploads
from embryofl_server.federation.fleet import Node, RawReply


@dataclass(frozen=True)
class FileTransfers:
    """Copies files between a hub's folders and a clinic; see `embryofl_clinic.workload.transfers.Transfers`.

    Attributes
    ----------
    weights : Path
        The folder that a gateway would serve.
    uploads : Uploads
    """

    weights: Path
    uploads: Uploads

    def download(self, wanted: Download, deadline: float) -> np.ndarray:
        """See `Transfers`."""
        return np.fromfile(self.weights / urlsplit(wanted.url).path.removeprefix(MODEL_PREFIX), np.uint8)

    def upload(self, url: str, data: np.ndarray, deadline: float) -> UploadReceipt:
        """See `Transfers`."""

        async def body() -> AsyncIterator[bytes]:
            yield data.tobytes()

        asyncio.run(self.uploads.receive(urlsplit(url).path, data.size, body()))
        return UploadReceipt(size=data.size, sha256=hashlib.sha256(data.data).hexdigest())


@dataclass(frozen=True)
class OneWorkload:
    """The same workload for every request; see `embryofl_clinic.workload.request_handler.Workloads`."""

    workload: Workload

    def get(self, request: Request) -> Workload:
        """See `Workloads`."""
        return self.workload


class LocalFleet:
    """See `embryofl_server.federation.fleet.Fleet`. An exception in a clinic's work ends the run.

    Parameters
    ----------
    clinics : mapping of str to Workload
    meaning : str
        What label 1 means in the run.
    folder : Path
        For the clinics' state folders. Their policy trains on any number of embryos.
    transfers : FileTransfers

    Attributes
    ----------
    public_keys : dict of str to str
        The clinics' keys, OpenSSH lines.
    """

    poll_s = 0.0  # a reply is there as soon as its request has been sent

    def __init__(
        self, clinics: Mapping[str, Workload], meaning: Meaning, folder: Path, transfers: FileTransfers
    ) -> None:
        self._transfers = transfers
        self._replies: dict[str, RawReply] = {}
        self._handlers: dict[str, RequestHandler] = {}
        self.public_keys: dict[str, str] = {}
        for name, workload in clinics.items():
            state_dir = folder / name
            state_dir.mkdir(parents=True)
            (state_dir / rules.FILE).write_text("min_examples = 1\n" + rules.ONE_OWNER)
            policy, identity = rules.Policy(state_dir, meaning, name), ClinicIdentity(state_dir / "identity")
            self._handlers[name] = RequestHandler(
                OneWorkload(workload), policy, TrainerMetrics(name), state_dir, Masking(state_dir, identity)
            )
            self.public_keys[name] = identity.public_key

    def recover(self, keys: Callable[[], Mapping[str, str]]) -> list[str]:
        """Nothing is ever lost here."""
        return []

    def close(self) -> None:
        """Nothing to end."""

    def nodes(self) -> dict[str, Node]:
        """All clinics, always online."""
        return {name: Node(name, number, online=True, activated="") for number, name in enumerate(self._handlers)}

    def send(self, node: Node, text: str, ttl_s: float, group: str) -> str:
        """Have the clinic do its work now; the reply is kept for `replies`."""
        request = Request.model_validate_json(text)
        reply = self._handlers[node.name].reply_to(request, self._transfers)
        message_id = f"{request.kind}-{request.round}-{node.name}"
        self._replies[message_id] = RawReply(message_id, reply.model_dump_json())
        return message_id

    def replies(self, message_ids: list[str]) -> list[RawReply]:
        """The replies to these messages; each is returned once."""
        return [self._replies.pop(i) for i in message_ids if i in self._replies]
