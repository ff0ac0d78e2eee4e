"""A clinic that sends something other than a reply cannot end a run, and only the clinics of this server count."""

import contextlib
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.proto.control_pb2 import ListNodesResponse, RegisterNodeResponse
from flwr.proto.error_pb2 import Error
from flwr.proto.message_pb2 import Message, Metadata
from flwr.proto.node_pb2 import NodeInfo
from flwr.proto.runtime_pb2 import GetNodesResponse, PullAppMessagesResponse

from embryofl.clinic_keys import openssh
from embryofl.messages import TEXT_CODE
from embryofl_server.federation import superlink as module
from embryofl_server.federation.fleet import Node
from embryofl_server.federation.superlink import Grid, SuperLink


def pull(error: Error | None) -> tuple[list, list[str]]:
    """Pull one reply with this error in its header; return the replies and the confirmed messages."""
    header = Message(metadata=Metadata(message_id="its-own", reply_to_message_id="asked"), error=error)
    confirmed: list[str] = []
    client = SimpleNamespace(  # no PullObject: a reply's objects are never fetched
        PullMessages=lambda _: PullAppMessagesResponse(messages_list=[header]),
        ConfirmMessageReceived=lambda r: confirmed.append(r.message_object_id),
    )
    grid = Grid(client, 1)  # type: ignore[arg-type]
    replies = grid.pull(["asked"])
    assert confirmed == []  # its object may still be in transit
    grid.pull(["asked"])
    return replies, confirmed


def test_text_in_the_header_is_the_reply():
    (reply,), confirmed = pull(Error(code=TEXT_CODE, reason='{"kind": "train"}'))
    assert (reply.message_id, reply.text, reply.error, reply.lost) == ("asked", '{"kind": "train"}', "", False)
    assert confirmed == ["its-own"]


def test_header_without_text_is_an_empty_reply_which_the_gate_rejects():
    (reply,), _ = pull(None)
    assert (reply.message_id, reply.error, reply.text, reply.lost) == ("asked", "", "", False)


@pytest.mark.parametrize(
    ("reason", "repeated"),
    [("DataError", "DataError"), ("/data/anna.png is bad", "an error"), ("\x1b[2J", "an error"), ("", "an error")],
)
def test_only_the_name_of_a_clinics_error_is_repeated(reason, repeated):
    (reply,), _ = pull(Error(code=2, reason=reason))
    assert (reply.error, reply.text, reply.lost) == (repeated, "", False)


@pytest.mark.parametrize("code", [3, 4, 5])
def test_error_that_the_superlink_reports_for_a_clinic_is_a_lost_reply(code):
    (reply,), confirmed = pull(Error(code=code, reason="gone"))
    assert reply.lost and confirmed == []


def test_node_that_the_server_did_not_register_counts_for_no_clinic(monkeypatch):
    """Whoever could register a key would otherwise take the name of a clinic with it."""
    link = SuperLink("localhost:1", b"", b"secret", lambda _: None)
    link._names = {7: "anna"}
    nodes = [NodeInfo(node_id=7, name="anna", status="online"), NodeInfo(node_id=8, name="bert", status="online")]
    client = SimpleNamespace(GetNodes=lambda _: GetNodesResponse(nodes=nodes))
    monkeypatch.setattr(link, "open_grid", lambda: SimpleNamespace(client=client))
    assert {name: node.id for name, node in link.nodes().items()} == {"anna": 7}


def test_clinic_is_told_of_a_message_once_it_is_there_and_of_its_lost_session(monkeypatch):
    told, line = [], openssh(ec.generate_private_key(ec.SECP384R1()))
    link = SuperLink("localhost:1", b"", b"secret", told.append)
    grid = SimpleNamespace(push=lambda _: "its-id" if told == [] else pytest.fail("told before it was sent"))
    monkeypatch.setattr(link, "open_grid", lambda: grid)
    monkeypatch.setattr(module, "Message", lambda *_, **__: SimpleNamespace())
    link.send(Node("anna", 7, online=True, activated=""), "{}", 60.0, "1")
    assert told == ["anna"]
    empty = SimpleNamespace(
        ListNodes=lambda _: ListNodesResponse(), RegisterNode=lambda _: RegisterNodeResponse(node_id=8)
    )
    monkeypatch.setattr(link, "_control", lambda: contextlib.nullcontext(empty))
    assert link.admit(lambda: {"bert": line}) == ["bert"]
    assert told == ["anna", "bert"]
