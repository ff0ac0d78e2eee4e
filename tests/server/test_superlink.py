"""What a clinic sends in the place of an answer cannot end a run."""

from types import SimpleNamespace

import pytest
from flwr.proto.message_pb2 import Message, Metadata, ObjectTree, PullObjectResponse
from flwr.proto.runtime_pb2 import PullAppMessagesResponse

from embryofl_server.superlink import MAX_OBJECTS, _Grid

HOSTILE = {
    "nothing": b"",
    "text": b"hello",
    "an unknown class": b"EvilClass\x00" + b"1 5\x00",
    "no number": b"Message 0\x00abc",
    "a header without body": b"Message 0 10\x00",
    "a long way to the body": b"ConfigRecord 0 99999999\x00xx",
    "a class and rubbish": b"Message 0 4\x00\xff\xff\xff\xff",
    "a part that is not there": b"RecordDict " + b"a" * 64 + b" 2\x00{}",
    "another object": b"ConfigRecord  2\x00{}",
}


def grid_with(contents: dict[str, bytes], first: str) -> _Grid:
    tree = ObjectTree(object_id=first, children=[ObjectTree(object_id=i) for i in contents if i != first])
    header = Message(metadata=Metadata(message_id=first, reply_to_message_id="asked"))
    client = SimpleNamespace(
        PullMessages=lambda _: PullAppMessagesResponse(messages_list=[header], message_object_trees=[tree]),
        PullObject=lambda r: PullObjectResponse(
            object_found=True, object_available=True, object_content=contents[r.object_id]
        ),
        ConfirmMessageReceived=lambda _: None,
    )
    return _Grid(client, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", HOSTILE)
def test_bytes_that_are_no_message_are_a_malformed_answer(kind):
    (answer,) = grid_with({"a" * 64: HOSTILE[kind]}, "a" * 64).pull(["asked"])
    assert (answer.message_id, answer.error, answer.lost) == ("asked", "malformed", False)


def test_an_answer_of_many_parts_is_not_even_fetched():
    parts = {f"{i:064x}": b"" for i in range(MAX_OBJECTS + 1)}
    (answer,) = grid_with(parts, f"{0:064x}").pull(["asked"])
    assert answer.error == "malformed"
