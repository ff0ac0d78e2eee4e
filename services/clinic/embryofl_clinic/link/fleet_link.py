"""The clinic's link to the hub: EVERYTHING on the clinic's side that touches flwr's internals lives in this file.

Built on flwr 1.41.0's `FleetHttpClient`, one class below the context manager that the stock SuperNode uses. That one ends
the process when activation fails, sends SIGINT to itself on a 401, swallows exceptions of its body, and cannot deactivate
the node of a killed predecessor, which is what makes a restart immediate. The call that fetches an app bundle (GetFab) is
never made: code does not travel.
"""

import base64
import contextlib
import datetime
import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Error, Message, Metadata
from flwr.common.constant import TIMESTAMP_HEADER, ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import ActivateNodeRequest, DeactivateNodeRequest, PullMessagesRequest, PushMessagesRequest
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.error import FlowerError
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree, no_object_id_recompute
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError, push_objects
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.interceptors.http.utils import add_headers
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.fleet_http_client import FleetHttpClient

from embryofl.files import write_atomic
from embryofl.invite import HUB_NAME
from embryofl.messages import TEXT_CODE
from embryofl_clinic.joining.clock import HubClock
from embryofl_clinic.joining.route import Route

log = logging.getLogger("embryofl.link")

HEARTBEAT_S = 10.0  # the smallest interval the SuperLink accepts; a silent node is offline after twice that
RETRY_FIRST_S, RETRY_MOST_S, RETRY_GROWTH = 0.1, 5.0, 1.6
MAX_MESSAGE = 1 << 20  # characters
_GONE = (httpx.HTTPError, ValueError, RuntimeError)  # RuntimeError: the client was closed meanwhile


class Stopped(Exception):
    """The process was asked to stop."""


class RunGone(Exception):
    """The run is no longer under way: drop the request."""


class KeyRejected(Exception):
    """The hub rejects this clinic's key: not enrolled (yet), revoked, or a clock more than 5 minutes off."""


@dataclass(frozen=True)
class Incoming:
    """A request from the hub: its JSON text, and what is needed to reply."""

    text: str
    message: Any


class _Signature:
    """flwr's `NodeAuthHttpInterceptor` by the hub's clock, since the hub rejects signatures that are minutes old."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, clock: HubClock) -> None:
        self._key, self._public, self._clock = key, public_key_to_bytes(key.public_key()), clock

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Sign the time and send the public key."""
        moment = datetime.datetime.fromtimestamp(self._clock.now(), datetime.UTC).isoformat()
        signature = sign_message(self._key, moment.encode("ascii"))
        add_headers(
            context.request,
            {
                FLEET_HTTP_PUBLIC_KEY_HEADER: base64.b64encode(self._public).decode("ascii"),
                TIMESTAMP_HEADER: moment,
                FLEET_HTTP_SIGNATURE_HEADER: base64.b64encode(signature).decode("ascii"),
            },
        )
        return call_next(context)


class FleetLink:
    """One session with the hub.

    Parameters
    ----------
    route : Route
        To the gateway; its address may change in the middle of a session.
    key : EllipticCurvePrivateKey
        The clinic's key.
    state_dir : Path
        For the node id of this session, and for `alive`, whose age shows when the hub last replied.
    stop : threading.Event
        Set to make every call raise `Stopped`.
    on_state : callable
        Called with ("up", "") or ("down", reason) after each call.
    clock : HubClock, optional
        For signatures; default: this machine's clock.

    Attributes
    ----------
    client : FleetHttpClient
        Calls of the Fleet API, signed, each made once.
    public_key : bytes
        As the Fleet API knows it.
    """

    def __init__(
        self,
        route: Route,
        key: ec.EllipticCurvePrivateKey,
        state_dir: Path,
        stop: threading.Event,
        on_state: Callable[[str, str], None] = lambda state, reason: None,
        clock: HubClock | None = None,
    ) -> None:
        self.public_key, self._clock = public_key_to_bytes(key.public_key()), clock or HubClock()
        self.client = FleetHttpClient(
            f"https://{HUB_NAME}",
            interceptors=[RuntimeVersionHttpInterceptor(component_name="SuperNode"), _Signature(key, self._clock)],
        )
        self.client._client.close()
        self.client._client = route.client(30)
        self._id_file, self._alive_file = state_dir / "node_id", state_dir / "alive"
        self._stop, self._on_state = stop, on_state
        self._session: Node | None = None

    @property
    def _node(self) -> Node:
        if self._session is None:
            raise KeyRejected("no_session")
        return self._session

    def _call(self, method: Callable[[Any], Any], request: Any) -> Any:
        """Call the hub; outages are retried for ever with a growing pause, rejections are raised."""
        delay = RETRY_FIRST_S
        while True:
            try:
                response = method(request)
                self._on_state("up", "")
                return response
            except httpx.TransportError as exc:
                reason = type(exc).__name__
            except httpx.HTTPStatusError as exc:
                status = exc.response.status_code
                if status == httpx.codes.UNAUTHORIZED:
                    raise KeyRejected("unauthorised") from None
                if status == httpx.codes.FORBIDDEN:
                    raise RunGone from None
                if status < 500:
                    error = FlowerError.from_json(exc.response.text)
                    raise KeyRejected(f"code_{error.code}" if error else f"http_{status}") from None
                reason = f"http_{status}"
            self._on_state("down", reason)
            if self._stop.wait(delay * random.uniform(0.8, 1.2)):  # noqa: S311
                raise Stopped
            delay = min(delay * RETRY_GROWTH, RETRY_MOST_S)

    # -- session ----------------------------------------------------------------------------------------------------
    def connect(self) -> None:
        """Begin a session. A killed node counts as online for up to twice the heartbeat, and its key would be rejected
        that long; deactivating it first makes a restart immediate."""
        if self._id_file.exists():
            with contextlib.suppress(KeyRejected, RunGone, ValueError):  # already offline, or forgotten by the hub
                self._call(self.client.DeactivateNode, DeactivateNodeRequest(node_id=int(self._id_file.read_text())))
        response = self._call(
            self.client.ActivateNode, ActivateNodeRequest(public_key=self.public_key, heartbeat_interval=HEARTBEAT_S)
        )
        self._session = Node(node_id=response.node_id)
        write_atomic(self._id_file, str(response.node_id).encode())
        TaskIdentity.node_id, TaskIdentity.task_id = response.node_id, 1  # Message(reply_to=...) reads these
        self._note_contact()
        threading.Thread(target=self._heartbeats, args=(self._node,), daemon=True, name="heartbeat").start()

    def _heartbeats(self, node: Node) -> None:
        request = SendNodeHeartbeatRequest(node=node, heartbeat_interval=HEARTBEAT_S)
        while not self._stop.wait(HEARTBEAT_S * random.uniform(0.8, 0.9)) and node is self._session:  # noqa: S311
            with contextlib.suppress(*_GONE):  # the main loop reports and retries
                self.client.SendNodeHeartbeat(request)
                self._note_contact()

    def _note_contact(self) -> None:
        """Touch the file whose age shows a health check when the hub last replied."""
        with contextlib.suppress(OSError):  # a full disk must not end the heartbeat
            self._alive_file.touch()

    def close(self) -> None:
        """End the session; the hub is informed if it can be reached."""
        node, self._session = self._session, None
        if node is not None:
            with contextlib.suppress(*_GONE):
                self.client.DeactivateNode(DeactivateNodeRequest(node_id=node.node_id))
        self.client.close()

    # -- messages ---------------------------------------------------------------------------------------------------
    def receive(self) -> Incoming | None:
        """The next request, or None. The hub delivers it once: if this process dies after the call, the hub notices the
        new session and sends it again. A message of another form is dropped with a warning."""
        response = self._call(self.client.PullMessages, PullMessagesRequest(node=self._node))
        if not response.messages_list:
            return None
        message = message_from_proto(response.messages_list[0])
        TaskIdentity.run_id = message.metadata.run_id
        text = message.error.reason if message.has_error() and message.error.code == TEXT_CODE else None
        if not text or len(text) > MAX_MESSAGE:
            log.warning("dropped a message of an unknown form")
            return None
        return Incoming(text, message)

    def _confirm(self, node: Node, asked: Metadata) -> None:
        """Let the SuperLink delete a message. Losing this call only delays its clean-up."""
        confirm = make_confirm_message_received_fn_protobuf(self.client.ConfirmMessageReceived, node, asked.run_id)
        with contextlib.suppress(*_GONE):
            confirm(asked.message_id)

    def reply(self, incoming: Incoming, text: str, seconds: float) -> None:
        """Reply to a request with a JSON text."""
        self._push(Message(Error(TEXT_CODE, text), reply_to=incoming.message), incoming, seconds)

    def report_failure(self, incoming: Incoming, kind: str, seconds: float) -> None:
        """Report that the work failed. `kind` is the name of an error's type: texts may hold paths or identifiers."""
        error = Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=kind)
        self._push(Message(error, reply_to=incoming.message), incoming, seconds)

    def _push(self, message: Message, incoming: Incoming, seconds: float) -> None:
        """Send a reply. The header is the message; its object only lets the SuperLink delete its records, which may have
        happened already. For the same reason a request is confirmed no earlier than its reply is sent."""
        asked = incoming.message.metadata
        created = self._clock.now()  # flwr uses this machine's clock
        message.metadata.__dict__.update(_created_at=created, _ttl=asked.created_at + asked.ttl - created)
        with no_object_id_recompute():
            message.metadata.__dict__["_message_id"] = message.object_id
            request = PushMessagesRequest(
                node=self._node,
                messages_list=[message_to_proto(message)],
                message_object_trees=[get_object_tree(message)],
                clientapp_runtime_list=[seconds],
            )
            begun = self._call(self.client.PushMessages, request)
            push = make_push_object_fn_protobuf(
                lambda r: self._call(self.client.PushObject, r), self._node, asked.run_id, begun.session_id
            )
            with contextlib.suppress(ObjectPushError):
                push_objects(get_all_nested_objects(message), push, object_ids_to_push=set(begun.objects_to_push))
        threading.Thread(target=self._confirm, args=(self._node, asked), daemon=True, name="confirm").start()
