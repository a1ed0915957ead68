"""The seam between sources of recordings and the lake."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Protocol

from lake.model import Arrival, Skipped


class Connector(Protocol):
    """A source of recordings. Pickles: the driver lists with it, executors open with it."""

    name: str
    """Scheme it serves, as the registry knows it."""
    source: str
    """URI of the source, stable over runs: the first part of an arrival's key."""

    def discover(self, after: str | None = None) -> Iterator[Arrival | Skipped]:
        """List what is there, in ascending order of ``key`` (as UTF-8 bytes), from the first key greater than ``after``.

        Runs on the driver. Streams: memory does not grow with the number of entries of the source as a whole.
        Opens nothing. Raises ``SourceError`` when the source as a whole cannot be listed.
        """
        ...

    def open(self, arrival: Arrival) -> BinaryIO:
        """Open the bytes of one arrival for one sequential read. Runs on the executor, opens its own client.

        Raises ``Unreadable`` when the bytes cannot be had. When what is there is not the version that was listed,
        the read still ends, and ``verify`` tells.
        """
        ...

    def verify(self, arrival: Arrival, size_bytes: int) -> None:
        """After reading: raise ``Unreadable`` when the source changed since listing or ``size_bytes`` differ."""
        ...
