"""Writes small ONNX files: the few messages of onnx.proto3 that a graph needs, encoded by hand."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOAT, INT64 = 1, 7
IR_VERSION, OPSET = 8, 17


def _varint(value: int) -> bytes:
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: bytes | str | int | float) -> bytes:
    """One field of a message: length-delimited, varint or 32-bit float, by the value's type."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: int | list[int]) -> bytes:
    """A NodeProto; attributes are whole numbers or lists of them."""
    parts = [field(1, name) for name in inputs] + [field(2, name) for name in outputs] + [field(4, op)]
    for name, value in attributes.items():
        if isinstance(value, list):
            said = b"".join(field(8, each) for each in value) + field(20, 7)
        else:
            said = field(3, value) + field(20, 2)
        parts.append(field(5, field(1, name) + said))
    return b"".join(parts)


def constant(name: str, values: NDArray[Any]) -> bytes:
    """A TensorProto for float32 or int64 values."""
    kind = FLOAT if values.dtype == np.float32 else INT64
    dims = b"".join(field(1, size) for size in values.shape)
    return dims + field(2, kind) + field(8, name) + field(9, values.tobytes())


def port(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    """A ValueInfoProto: an input or output of the graph; a name stands for a size that varies."""
    dims = b"".join(field(1, field(1, size) if isinstance(size, int) else field(2, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, dims)))


def model(
    nodes: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes], constants: Sequence[bytes] = ()
) -> bytes:
    """A whole ModelProto."""
    graph = b"".join(
        [
            *(field(1, each) for each in nodes),
            field(2, "graph"),
            *(field(5, each) for each in constants),
            *(field(11, each) for each in inputs),
            *(field(12, each) for each in outputs),
        ]
    )
    return field(1, IR_VERSION) + field(8, field(1, "") + field(2, OPSET)) + field(7, graph)
