"""What a file that takes over its decoder can do from there: nothing."""

import contextlib
import math
import os
import pickle
import resource
import threading

import pytest

from embryofl_data.reading import decode, sandbox
from embryofl_data.reading.sandbox import FRAME, DecodeError
from embryofl_data.reading.scan import FileInfo
from embryofl_data.report import measure
from kits import hostile_decoder
from kits.importing import image_bytes


def detail(ask, function: sandbox.Decoder, data: bytes = b"") -> str:
    with pytest.raises(DecodeError) as error:
        ask(function, data)
    assert error.value.kind == "unreadable"
    return error.value.detail


def test_one_worker_takes_many_files(ask):
    assert ask(hostile_decoder.work, b"abc") == ({"length": 3}, b"cba")
    (worker,) = sandbox._idle["kits.hostile_decoder"]
    assert ask(hostile_decoder.work, bytes(10**7))[0] == {"length": 10**7}
    assert sandbox._idle["kits.hostile_decoder"] == [worker]


def test_decoder_reaches_no_file_no_network_and_no_process(ask, tmp_path):
    (tmp_path / "kept").touch()
    facts, _ = ask(hostile_decoder.reach_out, str(tmp_path / "new").encode())
    assert facts["done"] == []
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert "EMBRYOFL_CONTROL_TOKEN" not in facts["environment"]


@pytest.mark.parametrize("function", [hostile_decoder.take_memory, hostile_decoder.crash])
def test_decoder_that_dies_costs_only_its_file(ask, function):
    assert "crashed the decoder" in detail(ask, function)
    assert ask(hostile_decoder.work, b"ab")[1] == b"ba"


def test_decoder_that_never_ends_is_ended(ask, monkeypatch):
    monkeypatch.setattr(sandbox, "CPU_S", 1)
    assert "longer than 1 s" in detail(ask, hostile_decoder.never_end)


def test_decoder_that_waits_for_ever_is_ended(ask, monkeypatch):
    monkeypatch.setattr(sandbox, "WALL_S", 1)
    assert "longer than 1 s" in detail(ask, hostile_decoder.wait_for_ever)
    assert ask(hostile_decoder.work, b"ab")[1] == b"ba"


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"\0" * 40,
        FRAME.pack(2**31, 0),
        FRAME.pack(4, 2**62) + b"null",
        FRAME.pack(4, 0) + b"null",
        FRAME.pack(5, 0) + b"{\xff\xff\xff}",
        FRAME.pack(14, 0) + b'{"cpu_s": "x"}',
        pickle.dumps(os.getcwd),
    ],
)
def test_reply_that_is_none_is_rejected(ask, reply):
    detail(ask, hostile_decoder.send_nonsense, reply)


def test_decoder_asks_for_the_lock_once(ask):
    lock = threading.Lock()
    with pytest.raises(DecodeError):
        ask(hostile_decoder.ask_for_ever, large=lock)
    assert not lock.locked()


def test_image_that_is_not_what_its_reply_says_is_rejected(ask):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DecodeError, match="gave no image"):
        decode.received(*ask(hostile_decoder.lie))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 100_000  # kB; its 4.8 GB were not set aside


@pytest.mark.parametrize(
    "lie", [{"values": [0.0]}, {"optics": [math.nan] * 22}, {"tags": ["x" * 41]}, {"width": 0}, {"x": 1}]
)
def test_measurements_that_are_none_are_rejected(lie):
    facts, print_ = measure.measure_here(image_bytes(1), contextlib.nullcontext())
    assert measure.received(FileInfo(file="a.png"), facts, print_).info.width == facts["width"]
    for reply in ((facts | lie, print_), (facts, print_[1:])):
        with pytest.raises(DecodeError, match="measuring it gave no"):
            measure.received(FileInfo(file="a.png"), *reply)


def test_large_images_are_decoded_one_at_a_time(monkeypatch):
    entered: list[int] = []

    @contextlib.contextmanager
    def noted():
        entered.append(1)
        yield

    monkeypatch.setattr(decode, "large_lock", noted())
    decode.open_image(image_bytes(1))
    assert not entered
    huge = decode.Image.new("L", (4000, 3000))
    buffer = decode.io.BytesIO()
    huge.save(buffer, "PNG")
    assert decode.open_image(buffer.getvalue()).width == 4000 and entered == [1]
