"""The hub's link to its SuperLink: what touches flwr's internals on the hub's side lives here and in `superlink_process`.

Built on flwr 1.41.0. The server is its own executor: it starts a Flower run, takes that run's task as a SuperExec would,
and talks to the clinics through the run's Grid. So there is no SuperExec process and no process per run, and nothing ever
imports the bundle that a Flower run must have.

flwr's own retry helper is not used: it sends SIGINT to its own process on a 401. Here every failure becomes `FleetLost`,
and `SuperLink.recover` brings an empty or restarted SuperLink back to what the hub's store says.
"""

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
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
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity

from embryofl.clinic_keys import public_key
from embryofl.messages import TEXT_CODE
from embryofl_server.federation.fleet import FleetLost, Node, RawReply, error_name
from embryofl_server.federation.guard import HEADER, token_of

log = logging.getLogger("embryofl.superlink")

HEARTBEAT_S = 10.0  # of our task; the SuperLink calls a run failed after about a minute without
# Sent by the SuperLink, not by the clinic, when a node goes offline or its upload is cut.
_LOST = {ErrorCode.NODE_UNAVAILABLE, ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE}

BUNDLE = {
    "pyproject.toml": Path(__file__).with_name("bundle.toml").read_bytes(),
    "LICENSE": b"MIT\n",
    "README.md": b"Nothing in this bundle is ever executed.\n",
    "marker.py": b"app = None\n",
}


class Grid:
    """A run's Grid: flwr's `HttpGrid` without its retry helper, and without the database code its package imports."""

    def __init__(self, client: RuntimeHttpClient, run_id: int) -> None:
        self.client, self._run_id, self._node = client, run_id, NodeProto(node_id=SUPERLINK_NODE_ID)
        self._read: list[str] = []  # replies that were read and not yet confirmed to the SuperLink

    def push(self, message: Message) -> str:
        """Send one message; returns its id, or "" if it was not accepted. The header is the whole message; its object only
        completes the SuperLink's records, which may be complete already."""
        with no_object_id_recompute():
            message.metadata.__dict__["_message_id"] = message.object_id
            bare = message_to_proto(remove_content_from_message(message) if message.has_content() else message)
            objects, tree = get_all_nested_objects(message), get_object_tree(message)
            begun = self.client.PushMessages(PushAppMessagesRequest(messages_list=[bare], message_object_trees=[tree]))
            push = make_push_object_fn_protobuf(self.client.PushObject, self._node, self._run_id, begun.session_id)
            with contextlib.suppress(ObjectPushError):
                push_objects(objects, push, object_ids_to_push=set(begun.objects_to_push))
        return str(begun.message_ids[0]) if begun.message_ids else ""

    def pull(self, message_ids: list[str]) -> list[RawReply]:
        """The replies to these messages that have arrived. Those read by earlier calls are confirmed now, so that the
        SuperLink may forget them: right after a read, the object may still be on its way."""
        while self._read:
            read = ConfirmMessageReceivedRequest(node=self._node, run_id=self._run_id, message_object_id=self._read[-1])
            self.client.ConfirmMessageReceived(read)
            self._read.pop()
        headers = self.client.PullMessages(PullAppMessagesRequest(message_ids=message_ids)).messages_list
        replies = [_raw_reply(header) for header in headers]
        for header, reply in zip(headers, replies, strict=True):
            if not reply.lost:
                self._read.append(header.metadata.message_id)
        return replies


class _FromServer:
    """Shows the guard before the SuperLink that a call is the server's."""

    def __init__(self, secret: bytes) -> None:
        self._headers = {HEADER: token_of(secret)}

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        context.request.headers.update(self._headers)
        return call_next(context)


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Turn every way in which a call to the SuperLink fails into `FleetLost`."""
    try:
        yield
    except httpx.HTTPStatusError as exc:
        raise FleetLost(f"http_{exc.response.status_code}") from exc
    except (httpx.HTTPError, ObjectPushError, RuntimeError) as exc:
        raise FleetLost(type(exc).__name__) from exc


class SuperLink:
    """One Flower run at a time on one SuperLink; see `fleet.Fleet`.

    Parameters
    ----------
    address : str
        Host and port of the SuperLink.
    root_ca : bytes
        PEM certificate of the authority that signed the SuperLink's certificate.
    secret : bytes
        The SuperExec secret both sides read from the hub's identity folder.
    ring : callable
        Called with the name of a clinic that is to ask the SuperLink: there is a message for it, or the SuperLink has lost
        its session.
    """

    poll_s = 0.05

    def __init__(self, address: str, root_ca: bytes, secret: bytes, ring: Callable[[str], object]) -> None:
        self._address, self._ca, self._secret, self._ring = address, root_ca, secret, ring
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
            interceptors=[
                _FromServer(self._secret),
                CliClientHttpInterceptor(),
                RuntimeVersionHttpInterceptor(component_name="flwr CLI"),
            ],
        )
        with contextlib.closing(client), _failures():
            yield client

    def admit(self, keys: Callable[[], Mapping[str, str]]) -> list[str]:
        """Make the SuperLink's list of nodes equal to `keys()` (name -> OpenSSH public key line).

        `keys` is called only while no other call is running: an older list would permanently remove the key of a clinic
        that has joined since.

        Returns
        -------
        The names that were new to the SuperLink: all of them after it restarted empty.
        """
        added = []
        with self._admitting, self._control() as api:
            wanted = {public_key_to_bytes(public_key(line)): name for name, line in keys().items()}
            registered = {
                n.public_key: n for n in api.ListNodes(ListNodesRequest()).nodes_info if n.status != "unregistered"
            }
            for key, node in registered.items():
                if key not in wanted:
                    api.UnregisterNode(UnregisterNodeRequest(node_id=node.node_id))
            # The SuperLink never re-admits a removed key, so a renamed clinic keeps its first name there.
            self._names = {node.node_id: wanted[key] for key, node in registered.items() if key in wanted}
            for key, name in wanted.items():
                if key not in registered:
                    try:
                        self._names[api.RegisterNode(RegisterNodeRequest(public_key=key, name=name)).node_id] = name
                        added.append(name)
                        self._ring(name)
                    except httpx.HTTPStatusError as exc:
                        log.warning("the SuperLink rejected the key of %s: %s", name, exc.response.text[:200])
        return added

    def nodes(self) -> dict[str, Node]:
        """The clinics that have connected to this SuperLink, by name: those whose keys this server has sent there."""
        with _failures():
            return {
                name: Node(name, n.node_id, n.status == "online", n.last_activated_at)
                for n in self.open_grid().client.GetNodes(GetNodesRequest()).nodes
                if (name := self._names.get(n.node_id)) and n.status != "unregistered"
            }

    def presence(self) -> dict[str, bool]:
        """Whether each enrolled clinic is online; needs no run."""
        with self._control() as api:
            return {
                name: n.status == "online"
                for n in api.ListNodes(ListNodesRequest()).nodes_info
                if (name := self._names.get(n.node_id)) and n.status != "unregistered"
            }

    # -- run --------------------------------------------------------------------------------------------------------
    def open_grid(self) -> Grid:
        """The Grid of the run that is open; FleetLost without one."""
        if self._grid is None:
            raise FleetLost("no_run")
        return self._grid

    def open(self) -> None:
        """Start a Flower run, end any other, and take the new run's task.

        Raises
        ------
        FleetLost
            When the SuperLink cannot be reached or does not hand the task over within 10 s.
        """
        self.close()
        with self._control() as api:
            for run_id, run in dict(api.ListRuns(ListRunsRequest()).run_dict).items():
                if run.status.status != "finished":
                    api.StopRun(StopRunRequest(run_id=run_id))
            content, _ = build_fab_from_files(BUNDLE)
            fab = fab_to_proto(Fab(hashlib.sha256(content).hexdigest(), content, {}))
            self._run_id = api.StartRun(StartRunRequest(fab=fab)).run_id
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
            interceptors=[
                _FromServer(self._secret),
                RuntimeVersionHttpInterceptor(component_name=component),
                authentication,
            ],
        )

    def _take_task(self) -> Grid:
        sign = SuperExecAuthHttpInterceptor(
            master_secret=self._secret, protected_methods={"/flwr.proto.Runtime/AcquireTask"}
        )
        end = time.monotonic() + 10
        with contextlib.closing(self._runtime("SuperExec", sign)) as executor:
            while time.monotonic() < end:
                offer = executor.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]))
                if offer.token and offer.task.run_id == self._run_id:
                    client = self._runtime("flwr-serverapp", RuntimeTokenHttpInterceptor(token=offer.token))
                    task = client.PullTaskInput(PullTaskInputRequest())
                    TaskIdentity.task_id, TaskIdentity.run_id = task.task_id, task.run.run_id
                    TaskIdentity.node_id = task.context.node_id
                    return Grid(client, task.run.run_id)
                time.sleep(0.05)
        raise FleetLost("no_task")

    @staticmethod
    def _beat(grid: Grid, stop: threading.Event) -> None:
        while not stop.wait(HEARTBEAT_S):
            # A missed beat is noticed by the round loop's own calls, which raise FleetLost.
            with contextlib.suppress(httpx.HTTPError, RuntimeError):
                grid.client.SendTaskHeartbeat(SendTaskHeartbeatRequest())

    def close(self) -> None:
        """End the Flower run, if there is one. An unreachable SuperLink is no error here."""
        if self._heart is not None:
            self._heart.set()
        grid, self._grid, self._heart = self._grid, None, None
        if grid is not None:
            with contextlib.suppress(httpx.HTTPError, RuntimeError):
                grid.client.PushTaskOutput(PushTaskOutputRequest(sub_status="completed"))
            with contextlib.suppress(RuntimeError):
                grid.client.close()

    def recover(self, keys: Callable[[], Mapping[str, str]]) -> list[str]:
        """Admit all keys and start a run on a SuperLink that restarted, perhaps empty; returns the names added."""
        added = self.admit(keys)
        self.open()
        return added

    # -- messages ---------------------------------------------------------------------------------------------------
    def send(self, node: Node, text: str, ttl_s: float, group: str) -> str:
        """Send a JSON text to one clinic; returns the message's id."""
        message = Message(RecordDict(), node.id, "train", ttl=ttl_s, group_id=group)
        # flwr itself builds such messages as replies only.
        message.__dict__.update(_content=None, _error=Error(TEXT_CODE, text))
        with _failures():
            message_id = self.open_grid().push(message)
        if not message_id:
            raise FleetLost("message_not_accepted")
        self._ring(node.name)
        return message_id

    def replies(self, message_ids: list[str]) -> list[RawReply]:
        """The replies to these messages that have arrived; each is returned once."""
        if not message_ids:
            return []
        with _failures():
            return self.open_grid().pull(message_ids)


def _raw_reply(header: ProtoMessage) -> RawReply:
    message_id = header.metadata.reply_to_message_id
    code, text = header.error.code, header.error.reason
    if code == TEXT_CODE or not header.HasField("error"):
        return RawReply(message_id, text=text)  # "" without any, which the gate rejects
    return RawReply(message_id, error=error_name(text), lost=code in _LOST)
