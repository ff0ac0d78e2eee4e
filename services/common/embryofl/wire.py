"""A model's state as one packed array: the bytes of a safetensors file with a canonical header.

The same bytes are the message body, the checkpoint on disk and the final model, so a round's global model is written
once and read by any tool that reads safetensors. Every tensor keeps its dtype: an integer buffer (a BatchNorm counter)
stays an integer. Tensors of one dtype lie side by side, so that an aggregator sees a few long arrays and not a hundred
short ones.

Format: https://github.com/huggingface/safetensors#format (8 bytes little-endian header length, JSON header, data).
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np

# safetensors name -> little-endian numpy dtype. Wider types first keeps every section aligned.
DTYPES = {
    "F64": "<f8",
    "I64": "<i8",
    "F32": "<f4",
    "I32": "<i4",
    "F16": "<f2",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}
NAMES = {np.dtype(code): name for name, code in DTYPES.items()}
MAX_HEADER = 16 << 20  # bytes; a header is about 100 bytes a tensor


class WireError(ValueError):
    """Bytes that are not the agreed model state. The text is a short reason, safe to send and to count by."""


@dataclass(frozen=True)
class Tensor:
    """One named tensor: its dtype (safetensors name), shape, and byte range behind the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Section:
    """A run of tensors of one dtype: byte range behind the header."""

    dtype: np.dtype[Any]
    begin: int
    end: int


@dataclass(frozen=True)
class Layout:
    """Names, dtypes and shapes of a model state, in the order in which they are packed."""

    tensors: tuple[Tensor, ...]

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[str, tuple[int, ...]]]) -> "Layout":
        """Lay out `{name: (dtype name, shape)}`: by dtype as in `DTYPES`, inside a dtype in the given order."""
        tensors, at = [], 0
        for dtype, code in DTYPES.items():
            for name, (its_dtype, shape) in shapes.items():
                if its_dtype == dtype:
                    end = at + math.prod(shape) * np.dtype(code).itemsize
                    tensors.append(Tensor(name, dtype, tuple(shape), at, end))
                    at = end
        if len(tensors) != len(shapes):
            unknown = sorted({d for d, _ in shapes.values()} - set(DTYPES))
            raise WireError(f"dtypes {unknown} cannot be sent; known are {list(DTYPES)}")
        return cls(tuple(tensors))

    @classmethod
    def parse(cls, data: bytes | memoryview) -> "Layout":
        """Read the layout from the start of packed bytes.

        Raises
        ------
        WireError
            When the header is not one that `Layout.header` writes.
        """
        if len(data) < 8:
            raise WireError("header_too_short")
        length = int.from_bytes(bytes(data[:8]), "little")
        if not 2 <= length <= min(MAX_HEADER, len(data) - 8):
            raise WireError("header_length_out_of_range")
        try:
            fields = json.loads(bytes(data[8 : 8 + length]))
            fields.pop("__metadata__", None)
            layout = cls.of({name: (f["dtype"], _shape(f["shape"])) for name, f in fields.items()})
            offsets = {name: tuple(f["data_offsets"]) for name, f in fields.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise WireError("header_malformed") from exc
        if offsets != {t.name: (t.begin, t.end) for t in layout.tensors}:
            raise WireError("header_not_canonical")
        return layout

    @cached_property
    def header(self) -> bytes:
        """The safetensors header: length, JSON, padded with spaces so that the data is 8-byte aligned."""
        fields = {
            t.name: {"dtype": t.dtype, "shape": list(t.shape), "data_offsets": [t.begin, t.end]} for t in self.tensors
        }
        text = json.dumps(fields, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    @cached_property
    def id(self) -> str:
        """A short name of the layout: equal exactly when names, dtypes and shapes are."""
        return hashlib.sha256(self.header).hexdigest()[:16]

    @property
    def data_size(self) -> int:
        """Bytes behind the header."""
        return self.tensors[-1].end if self.tensors else 0

    @property
    def size(self) -> int:
        """Bytes of a whole packed state."""
        return len(self.header) + self.data_size

    @property
    def parameters(self) -> int:
        """How many numbers a state holds."""
        return sum(math.prod(t.shape) for t in self.tensors)

    @property
    def floats(self) -> int:
        """How many of them are floating-point numbers."""
        return sum((s.end - s.begin) // s.dtype.itemsize for s in self.sections if s.dtype.kind == "f")

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """The packed data as runs of one dtype each."""
        runs = [(np.dtype(DTYPES[name]), [*run]) for name, run in groupby(self.tensors, lambda t: t.dtype)]
        return tuple(Section(dtype, run[0].begin, run[-1].end) for dtype, run in runs if run[-1].end > run[0].begin)

    def check(self, packed: np.ndarray) -> None:
        """Raise `WireError` unless `packed` (uint8, 1-D) has exactly this layout."""
        if packed.size != self.size:
            raise WireError("wrong_size")
        if packed[: len(self.header)].tobytes() != self.header:
            raise WireError("wrong_layout")

    def section_views(self, packed: np.ndarray) -> list[np.ndarray]:
        """One array per section, without copying."""
        base = len(self.header)
        return [packed[base + s.begin : base + s.end].view(s.dtype) for s in self.sections]

    def tensor_views(self, packed: np.ndarray) -> dict[str, np.ndarray]:
        """One array per tensor in its shape, without copying."""
        base = len(self.header)
        return {
            t.name: packed[base + t.begin : base + t.end].view(DTYPES[t.dtype]).reshape(t.shape) for t in self.tensors
        }

    def empty(self) -> np.ndarray:
        """A packed state with the header filled in and the data not."""
        packed = np.empty(self.size, np.uint8)
        packed[: len(self.header)] = np.frombuffer(self.header, np.uint8)
        return packed


def _shape(value: object) -> tuple[int, ...]:
    """A shape read from a header; `ValueError` unless it is a list of whole numbers from 0."""
    if not isinstance(value, list) or not all(type(n) is int and n >= 0 for n in value):
        raise ValueError("shape")
    return tuple(value)
