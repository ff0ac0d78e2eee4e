"""The hub's link to its SuperLink: EVERYTHING on the hub's side that touches flwr's internals lives in this file.

Built on flwr 1.41.0. The server is its own executor: it starts a Flower run, takes that run's task as a SuperExec would,
and talks to the clinics through the run's Grid. So there is no SuperExec process, no process per run, and nothing in the
bundle that a Flower run must have is ever imported by anybody.

flwr's own retry helper is left out on purpose: it sends SIGINT to its own process on a 401. Here every failure becomes
`LinkLost`, and `SuperLink.recover` brings an empty or restarted SuperLink back to what the hub's own store says.
"""

import contextlib
import hashlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from flwr.app import Error, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.cli.build import build_fab_from_files
from flwr.cli.cli_client_interceptor import CliClientHttpInterceptor
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.common.serde import fab_to_proto, message_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.node_pb2 import Node as NodeProto
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    GetNodesRequest,
    PullAppMessagesRequest,
    PullTaskInputRequest,
    PushAppMessagesRequest,
    PushTaskOutputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.supercore.constant import TaskType
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree, no_object_id_recompute
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_push_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError, push_objects
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity

from embryofl.messages import MAX_REPLY, TEXT_CODE
from embryofl_server.members.keys import RegistryUnreachable

log = logging.getLogger("embryofl.superlink")

HEARTBEAT_S = 10.0  # of our task; the SuperLink calls a run failed after about a minute without
# Answers the SuperLink gives in a node's stead when it goes offline or its upload is cut: not the clinic's own word.
_LOST = {ErrorCode.NODE_UNAVAILABLE, ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE}

BUNDLE = {
    "pyproject.toml": b"""[project]
name = "embryofl"
version = "1.0.0"
description = "A marker: EmbryoFL's clinics run only the code in their own image"
license = { file = "LICENSE" }
dependencies = ["flwr>=1.41.0"]
[tool.flwr.app]
publisher = "embryofl"
fab-format-version = 1
flwr-version-target = "1.41.0"
[tool.flwr.app.components]
serverapp = "marker:app"
clientapp = "marker:app"
[tool.flwr.app.config]
""",
    "LICENSE": b"MIT\n",
    "README.md": b"Nothing in this bundle is ever executed.\n",
    "marker.py": b"app = None\n",
}


class LinkLost(RegistryUnreachable):
    """The SuperLink cannot be reached, has forgotten us, or has stopped our run. `recover` puts it right."""


@dataclass(frozen=True)
class Node:
    """A clinic as the SuperLink sees it. `activated` changes each time the clinic's process connects anew."""

    name: str
    id: int
    online: bool
    activated: str


@dataclass(frozen=True)
class Answer:
    """What came back for a message: the clinic's JSON text, or an error; `lost` when the message must be sent again.

    `refusal` says in words why an answer was not even read; `error` is then the short reason.
    """

    message_id: str
    text: str = ""
    error: str = ""
    lost: bool = False
    refusal: str = ""


class Grid:
    """A run's Grid: flwr's `HttpGrid` without its retry helper, and without the database code its package imports."""

    def __init__(self, client: RuntimeHttpClient, run_id: int) -> None:
        self.client, self._run_id, self._node = client, run_id, NodeProto(node_id=SUPERLINK_NODE_ID)
        self._read: list[str] = []  # answers of which the SuperLink does not know yet that they were read

    def push(self, message: Message) -> str:
        """Send one message; returns its id, or "" when it was not taken. The header is the message; that its object comes
        too only lets the SuperLink close its books, and it may have done so already."""
        with no_object_id_recompute():
            message.metadata.__dict__["_message_id"] = message.object_id
            bare = message_to_proto(remove_content_from_message(message) if message.has_content() else message)
            objects, tree = get_all_nested_objects(message), get_object_tree(message)
            begun = self.client.PushMessages(PushAppMessagesRequest(messages_list=[bare], message_object_trees=[tree]))
            push = make_push_object_fn_protobuf(self.client.PushObject, self._node, self._run_id, begun.session_id)
            with contextlib.suppress(ObjectPushError):
                push_objects(objects, push, object_ids_to_push=set(begun.objects_to_push))
        return str(begun.message_ids[0]) if begun.message_ids else ""

    def pull(self, message_ids: list[str]) -> list["Answer"]:
        """The answers to these messages that have come in. The SuperLink may forget those that were read before: of the
        newest ones the object may still be on its way."""
        while self._read:
            forget = ConfirmMessageReceivedRequest(
                node=self._node, run_id=self._run_id, message_object_id=self._read[-1]
            )
            self.client.ConfirmMessageReceived(forget)
            self._read.pop()
        response = self.client.PullMessages(PullAppMessagesRequest(message_ids=message_ids))
        answers = []
        for header in response.messages_list:
            answer = _answer(header)
            answers.append(answer)
            if not answer.lost:
                self._read.append(header.metadata.message_id)
        return answers


def _node_key(line: str) -> bytes:
    key = load_ssh_public_key(line.encode())
    if not isinstance(key, ec.EllipticCurvePublicKey):  # enrolment takes no other kind
        raise TypeError("a clinic's key is not an EC key")
    return public_key_to_bytes(key)


def _bundle() -> Fab:
    content, _ = build_fab_from_files(BUNDLE)
    return Fab(hashlib.sha256(content).hexdigest(), content, {})


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Turn every way in which a call to the SuperLink fails into `LinkLost`."""
    try:
        yield
    except httpx.HTTPStatusError as exc:
        raise LinkLost(f"http_{exc.response.status_code}") from exc
    except (httpx.HTTPError, ObjectPushError, RuntimeError) as exc:
        raise LinkLost(type(exc).__name__) from exc


class SuperLink:
    """One Flower run at a time on one SuperLink.

    Parameters
    ----------
    address : str
        Host and port of the SuperLink.
    root_ca : bytes
        PEM certificate of the authority that signed the SuperLink's certificate.
    secret : bytes
        The SuperExec secret both sides read from the hub's identity folder.
    """

    def __init__(self, address: str, root_ca: bytes, secret: bytes) -> None:
        self._address, self._ca, self._secret = address, root_ca, secret
        self._grid: Grid | None = None
        self._run_id = 0
        self._heart: threading.Event | None = None
        self._admitting = threading.Lock()
        self._names: dict[int, str] = {}  # by node id, as of the last `admit`

    # -- membership -------------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def _control(self) -> Iterator[ControlHttpClient]:
        """A client of the Control API, closed after use: an idle one would delay the SuperLink's stop."""
        client = ControlHttpClient.from_server_address(
            self._address,
            insecure=False,
            root_certificates=self._ca,
            interceptors=[CliClientHttpInterceptor(), RuntimeVersionHttpInterceptor(component_name="flwr CLI")],
        )
        try:
            with _failures():
                yield client
        finally:
            client.close()

    def admit(self, keys: Callable[[], Mapping[str, str]]) -> list[str]:
        """Make the SuperLink's list of nodes equal to `keys()` (name -> OpenSSH public key line).

        They are asked for when nobody else admits: a list of a moment ago would shut out who has joined since, for ever.

        Returns
        -------
        The names that were new to the SuperLink: all of them after it came back empty.
        """
        added = []
        with self._admitting, self._control() as api:
            wanted = {_node_key(key): name for name, key in keys().items()}
            known = {
                n.public_key: n for n in api.ListNodes(ListNodesRequest()).nodes_info if n.status != "unregistered"
            }
            for key, node in known.items():
                if key not in wanted:
                    api.UnregisterNode(UnregisterNodeRequest(node_id=node.node_id))
            # A key that was taken away cannot come back, so a clinic that was renamed keeps its first name there.
            self._names = {node.node_id: wanted[key] for key, node in known.items() if key in wanted}
            for key, name in wanted.items():
                if key not in known:
                    try:
                        api.RegisterNode(RegisterNodeRequest(public_key=key, name=name))
                        added.append(name)
                    except httpx.HTTPStatusError as exc:
                        log.warning("the SuperLink does not take the key of %s: %s", name, exc.response.text[:200])
        return added

    def nodes(self) -> dict[str, Node]:
        """The clinics that have connected to this SuperLink, by name."""
        with _failures():
            return {
                name: Node(name, n.node_id, n.status == "online", n.last_activated_at)
                for n in self.open_grid().client.GetNodes(GetNodesRequest()).nodes
                if (name := self._names.get(n.node_id, n.name)) and n.status != "unregistered"
            }

    def presence(self) -> dict[str, bool]:
        """Whether each enrolled clinic is online; needs no run."""
        with self._control() as api:
            return {
                self._names.get(n.node_id, n.name): n.status == "online"
                for n in api.ListNodes(ListNodesRequest()).nodes_info
                if n.status != "unregistered"
            }

    # -- run --------------------------------------------------------------------------------------------------------
    def open_grid(self) -> Grid:
        """The Grid of the run that is open; LinkLost without one."""
        if self._grid is None:
            raise LinkLost("no_run")
        return self._grid

    def open(self) -> None:
        """Start a Flower run, end any other, and take the new run's task.

        Raises
        ------
        LinkLost
            When the SuperLink does not answer or does not hand the task over within 10 s.
        """
        self.close()
        with self._control() as api:
            for run_id, run in dict(api.ListRuns(ListRunsRequest()).run_dict).items():
                if run.status.status != "finished":
                    api.StopRun(StopRunRequest(run_id=run_id))
            self._run_id = api.StartRun(StartRunRequest(fab=fab_to_proto(_bundle()))).run_id
        with _failures():
            self._grid = self._take_task()
        self._heart = threading.Event()
        threading.Thread(target=self._beat, args=(self._grid, self._heart), daemon=True, name="heartbeat").start()

    def _runtime(self, component: str, authentication: Any) -> RuntimeHttpClient:
        """A client of the Runtime API that fails at once instead of retrying (and instead of ending the process)."""
        return RuntimeHttpClient.from_server_address(
            server_address=self._address,
            insecure=False,
            root_certificates=self._ca,
            interceptors=[RuntimeVersionHttpInterceptor(component_name=component), authentication],
        )

    def _take_task(self) -> Grid:
        sign = SuperExecAuthHttpInterceptor(
            master_secret=self._secret, protected_methods={"/flwr.proto.Runtime/AcquireTask"}
        )
        executor = self._runtime("SuperExec", sign)
        end = time.monotonic() + 10
        try:
            while time.monotonic() < end:
                got = executor.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]))
                if got.token and got.task.run_id == self._run_id:
                    client = self._runtime("flwr-serverapp", RuntimeTokenHttpInterceptor(token=got.token))
                    task = client.PullTaskInput(PullTaskInputRequest())
                    TaskIdentity.task_id, TaskIdentity.run_id = task.task_id, task.run.run_id
                    TaskIdentity.node_id = task.context.node_id
                    return Grid(client, task.run.run_id)
                time.sleep(0.05)
        finally:
            executor.close()
        raise LinkLost("no_task")

    @staticmethod
    def _beat(grid: Grid, stop: threading.Event) -> None:
        while not stop.wait(HEARTBEAT_S):
            # A missed beat is noticed by the round loop's own calls, which raise LinkLost.
            with contextlib.suppress(httpx.HTTPError, RuntimeError):
                grid.client.SendTaskHeartbeat(SendTaskHeartbeatRequest())

    def close(self, details: str = "") -> None:
        """End the Flower run, if one is held. An unreachable SuperLink is no reason to fail."""
        if self._heart is not None:
            self._heart.set()
        grid, self._grid, self._heart = self._grid, None, None
        if grid is not None:
            with contextlib.suppress(httpx.HTTPError, RuntimeError):
                grid.client.PushTaskOutput(PushTaskOutputRequest(sub_status="completed", details=details))
            with contextlib.suppress(RuntimeError):
                grid.client.close()

    def recover(self, keys: Callable[[], Mapping[str, str]]) -> list[str]:
        """Bring a SuperLink that restarted (perhaps empty) to what the hub knows; returns the names enrolled anew."""
        added = self.admit(keys)
        self.open()
        return added

    # -- messages ---------------------------------------------------------------------------------------------------
    def send(self, node: Node, text: str, ttl_s: float, group: str) -> str:
        """Send a JSON text to one clinic; returns the message's id."""
        message = Message(RecordDict(), node.id, "train", ttl=ttl_s, group_id=group)
        message.__dict__.update(_content=None, _error=Error(TEXT_CODE, text))  # flwr makes such ones as replies only
        with _failures():
            message_id = self.open_grid().push(message)
        if not message_id:
            raise LinkLost("message_not_taken")
        return message_id

    def answers(self, message_ids: list[str]) -> list[Answer]:
        """The answers that have come in to these messages; each is handed out once."""
        if not message_ids:
            return []
        with _failures():
            return self.open_grid().pull(message_ids)


def _unread(message_id: str, words: str) -> Answer:
    return Answer(message_id, error="malformed", refusal=words)


def _answer(header: ProtoMessage) -> Answer:
    asked = header.metadata.reply_to_message_id
    if not header.HasField("error"):
        return _unread(asked, "the answer holds no text")
    code, text = header.error.code, header.error.reason
    if code == TEXT_CODE:
        if len(text) > MAX_REPLY:
            return _unread(asked, f"the answer has {len(text)} characters, at most {MAX_REPLY} are taken")
        return Answer(asked, text=text)
    known = re.fullmatch(
        r"[A-Za-z]\w{0,60}", text
    )  # a clinic's word: only what can be the name of an error is repeated
    return Answer(asked, error=text if known else "an error", lost=code in _LOST)
