"""What a clinic sends in the place of an answer cannot end a run."""

from types import SimpleNamespace

import pytest
from flwr.proto.error_pb2 import Error
from flwr.proto.message_pb2 import Message, Metadata
from flwr.proto.runtime_pb2 import PullAppMessagesResponse

from embryofl.messages import TEXT_CODE
from embryofl_server.federation.superlink import Grid


def pull(error: Error | None) -> tuple[list, list[str]]:
    """What comes of one answer whose header is this, and which messages were confirmed."""
    header = Message(metadata=Metadata(message_id="its-own", reply_to_message_id="asked"), error=error)
    confirmed: list[str] = []
    client = SimpleNamespace(  # no PullObject: an answer's objects are never fetched
        PullMessages=lambda _: PullAppMessagesResponse(messages_list=[header]),
        ConfirmMessageReceived=lambda r: confirmed.append(r.message_object_id),
    )
    grid = Grid(client, 1)  # type: ignore[arg-type]
    answers = grid.pull(["asked"])
    assert confirmed == []  # its object may still be on its way
    grid.pull(["asked"])
    return answers, confirmed


def test_a_text_is_the_answer():
    (answer,), confirmed = pull(Error(code=TEXT_CODE, reason='{"kind": "train"}'))
    assert (answer.message_id, answer.text, answer.error, answer.lost) == ("asked", '{"kind": "train"}', "", False)
    assert confirmed == ["its-own"]


def test_what_is_no_text_is_an_empty_answer_which_the_gate_rejects():
    (answer,), _ = pull(None)
    assert (answer.message_id, answer.error, answer.text, answer.lost) == ("asked", "", "", False)


@pytest.mark.parametrize(
    ("reason", "repeated"),
    [("DataError", "DataError"), ("/data/anna.png is bad", "an error"), ("\x1b[2J", "an error"), ("", "an error")],
)
def test_of_a_clinics_error_only_a_name_is_repeated(reason, repeated):
    (answer,), _ = pull(Error(code=2, reason=reason))
    assert (answer.error, answer.text, answer.lost) == (repeated, "", False)


@pytest.mark.parametrize("code", [3, 4, 5])
def test_what_the_superlink_says_in_a_clinics_stead_is_no_answer(code):
    (answer,), confirmed = pull(Error(code=code, reason="gone"))
    assert answer.lost and confirmed == []
