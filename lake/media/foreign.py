"""The one place where errors of decoding libraries become errors of the lake."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from lake.errors import Damaged, LimitExceeded, RecordError

OBJECT = re.compile(r" ?<[\w.]+ object at 0x[0-9a-f]+>")
"""How Python writes an object that an error names: it says nothing, and each time something else."""


def first_line(error: BaseException, most: int = 160) -> str:
    """What a foreign error says, in one line that fits a table."""
    lines = OBJECT.sub("", str(error)).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:most]


def as_record_error(error: BaseException) -> RecordError:
    """The error itself if it is one of a recording, else one that names its kind: whose fault it is, nobody knows."""
    if isinstance(error, RecordError):
        return error
    return RecordError(f"{type(error).__name__}: {' '.join(str(error).split())}")


@contextmanager
def decoding(what: str) -> Iterator[None]:
    """Turns whatever a decoder throws at hostile bytes into ``Damaged``; errors of the lake pass through.

    Decoders raise nearly every built-in exception on broken input, so this catches ``Exception``: keep the body to
    calls of the library, or our own bugs are blamed on the recording.
    """
    try:
        yield
    except RecordError:
        raise
    except MemoryError:
        raise LimitExceeded(f"{what} needs more memory than one recording may use") from None
    except BaseException as error:
        # A panic in a library written in Rust is no Exception, so that nobody catches it by chance.
        if not isinstance(error, Exception) and type(error).__module__ != "pyo3_runtime":
            raise
        raise Damaged(f"{what} cannot be decoded: {first_line(error)}") from error
