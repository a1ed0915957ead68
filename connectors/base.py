"""The seam between sources of recordings and the lake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, ClassVar, Protocol, Self

from lake.model import Arrival, Skipped


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may say about a source besides its name; a connector takes what concerns it."""

    exclude: tuple[str, ...] = ()
    """Folders that are never entered, whatever name they are reached by: the lake's own root, when it lies inside."""
    follow_links: bool = False
    """Follow symbolic links, also those that leave the folder; loops are cut."""
    s3: Mapping[str, str | None] | None = None
    """``endpoint_url``, ``access_key_id``, ``secret_access_key``, ``region``; the environment fills gaps."""


class Connector(Protocol):
    """A source of recordings. Pickles: the driver lists with it, executors open with it."""

    name: ClassVar[str]
    """Scheme it serves, as the registry knows it."""

    @classmethod
    def from_uri(cls, uri: str, options: Options) -> Self:
        """The connector for a source as the user names it; raises ``UsageError`` when the name makes no sense."""
        ...

    @property
    def source(self) -> str:
        """URI of the source, stable over runs: the first part of an arrival's key."""
        ...

    def discover(self, after: str | None = None) -> Iterator[Arrival | Skipped]:
        """List what is there, ascending by ``key`` (as UTF-8 bytes), from the first key greater than ``after``.

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
