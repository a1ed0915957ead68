"""What the decoding child answers, in msgpack. Works in the child."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import msgpack


class ByAnalysis(dict[str, Any]):
    """What each of several analyses gave: one whose rows cannot be sent takes none of the others with it."""


def packed(reply: dict[str, Any]) -> bytes:
    """A reply as msgpack; where that cannot be written, the analysis that gave it has failed, or else the call."""
    try:
        return _packed(reply)
    except Exception as error:
        failure = _unwritable(error)
    value = reply.pop("value", None)
    if isinstance(value, ByAnalysis):
        with contextlib.suppress(MemoryError):
            return _packed({**reply, "value": {name: _writable(given) for name, given in value.items()}})
    return _packed({**reply, **failure})


def _writable(given: dict[str, Any]) -> dict[str, Any]:
    """What an analysis gave if msgpack can write it, else why it cannot."""
    try:
        _packed(given)
    except Exception as error:
        return _unwritable(error)
    return given


def _unwritable(error: Exception) -> dict[str, Any]:
    if isinstance(error, MemoryError):
        return {"error_class": "LimitExceeded", "message": "its result needs more memory than one recording may use"}
    return {"error_class": type(error).__name__, "message": line(error, "its result cannot be sent: ")}


def _packed(document: dict[str, Any]) -> bytes:
    written: bytes = msgpack.packb(document, default=_plain)
    return written


def _plain(value: Any) -> Any:
    """A number of numpy as one of Python; msgpack asks for whatever it does not know."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic) and value.dtype.kind in "biuf":
        return value.item()
    if isinstance(value, int):
        raise OverflowError("an int of more than 64 bits")
    kind = type(value)
    raise TypeError(f"a {kind.__module__}.{kind.__qualname__} is no plain value (number, text, bytes, list)")


def line(error: BaseException, before: str = "") -> str:
    """An error in one line, with its class."""
    return f"{type(error).__name__}: {before}{' '.join(text(error).split())}"[:500]


def text(error: BaseException) -> str:
    """What an error says, as text that can be sent: names of files may hold bytes that are no UTF-8."""
    return str(error).encode("utf-8", "backslashreplace").decode("utf-8")
