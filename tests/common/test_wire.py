"""The packed model state: any safetensors reader reads it, dtypes survive, and foreign bytes are rejected."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load as read_safetensors
from safetensors.torch import save as write_safetensors

from embryofl.packing import layout_of, load, pack
from embryofl.wire import Layout, WireError


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "conv.weight": torch.randn(4, 3, 3, 3),
        "norm.count": torch.tensor(2**53 + 1, dtype=torch.int64),  # not a float64
        "half": torch.randn(5).half(),
        "conv.bias": torch.randn(4),
        "flags": torch.tensor([True, False, True]),
        "wide": torch.randn(2, dtype=torch.float64),
        "empty": torch.zeros(0, 3),
    }


def test_packing_and_unpacking_keeps_every_bit_and_dtype(state):
    packed = pack(state)
    layout = Layout.parse(memoryview(packed))
    layout.check(packed)
    other = {name: torch.zeros_like(t) for name, t in state.items()}
    load(packed, layout, other)
    for name, tensor in state.items():
        assert other[name].dtype == tensor.dtype and torch.equal(other[name], tensor)
    assert layout.size == packed.size and layout.parameters == sum(t.numel() for t in state.values())


def test_safetensors_library_reads_packed_models(state):
    read = read_safetensors(pack(state).tobytes())
    assert set(read) == set(state)
    assert all(read[n].dtype == t.dtype and torch.equal(read[n], t) for n, t in state.items())


def test_packing_is_canonical(state):
    packed = pack(state)
    assert pack(state).tobytes() == packed.tobytes()
    assert layout_of(state).id == Layout.parse(memoryview(packed)).id
    assert len(layout_of(state).header) % 8 == 0


def test_tensors_of_one_dtype_are_one_section(state):
    layout = layout_of(state)
    assert [s.dtype.str for s in layout.sections] == ["<f8", "<i8", "<f4", "<f2", "|b1"]
    packed = pack(state)
    for section, view in zip(layout.sections, layout.section_views(packed), strict=True):
        assert view.nbytes == section.end - section.begin


@pytest.mark.parametrize("change", ["name", "dtype", "shape", "order"])
def test_other_models_have_other_ids(state, change):
    layout = layout_of(state)
    other = dict(state)
    if change == "name":
        other["conv.biass"] = other.pop("conv.bias")
    elif change == "dtype":
        other["conv.bias"] = other["conv.bias"].int()
    elif change == "shape":
        other["conv.bias"] = other["conv.bias"].reshape(2, 2)
    else:
        other = dict(reversed(other.items()))
    assert layout_of(other).id != layout.id
    with pytest.raises(WireError):
        layout.check(pack(other))


def test_truncated_or_too_long_file_is_rejected(state):
    layout, packed = layout_of(state), pack(state)
    for wrong in (packed[:-1], np.append(packed, np.uint8(0)), packed[:4], packed[:0]):
        with pytest.raises(WireError):
            layout.check(wrong)
        with pytest.raises(WireError):
            load(wrong, layout, state)


def _framed(text: bytes, data: int = 64) -> bytes:
    return len(text).to_bytes(8, "little") + text + bytes(data)


def _header(**changes: object) -> bytes:
    field = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **changes}
    return _framed(json.dumps({"a": field}).encode())


HOSTILE = {
    "nothing": b"",
    "short": b"\x01\x00",
    "length beyond the end": (1 << 40).to_bytes(8, "little") + b"{}",
    "length of 2**63": (1 << 63).to_bytes(8, "little") + b"{}",
    "zero length": bytes(64),
    "not JSON": _framed(b"x" * 16),
    "a list": _framed(b"[1, 2]"),
    "not UTF-8": _framed(b'{"\xff\xfe": 1}'),
    "deep": _framed(b"[" * 200_000),
    "unknown dtype": _header(dtype="PICKLE"),
    "no dtype": _header(dtype=None),
    "negative shape": _header(shape=[-2, -2]),
    "shape of floats": _header(shape=[4.0]),
    "shape of booleans": _header(shape=[True, 4]),
    "shape of text": _header(shape="4"),
    "shape too large": _header(shape=[1 << 60, 1 << 60]),
    "offsets overlap": _header(data_offsets=[0, 8]),
    "offsets elsewhere": _header(data_offsets=[8, 24]),
    "offsets backwards": _header(data_offsets=[16, 0]),
    "no offsets": _header(data_offsets=None),
    "a gap": _framed(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}'
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_header_is_rejected_with_a_short_reason(name):
    with pytest.raises(WireError) as caught:
        Layout.parse(memoryview(HOSTILE[name]))
    assert len(str(caught.value)) < 100


def test_bytes_of_another_writer_are_rejected(state):
    """The safetensors library orders and pads its header differently: same tensors, other bytes."""
    layout = layout_of(state)
    theirs = np.frombuffer(write_safetensors(state), np.uint8)
    with pytest.raises(WireError):
        layout.check(theirs)


def test_unsupported_dtype_is_named():
    with pytest.raises(WireError, match="BF99"):
        Layout.of({"a": ("BF99", (1,))})
