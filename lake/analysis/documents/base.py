"""What readers of documents share: where the bytes are, the limits, and a page."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lake.errors import LimitExceeded


@dataclass(frozen=True)
class Limits:
    """How much one document may become. All are checked before or while unpacking, never after."""

    max_unpacked_bytes: int
    """Of an archive (docx, epub …), all its parts together."""
    max_part_bytes: int
    """Of one part that is read whole, and of a document that is read whole."""
    max_text_chars: int
    max_pages: int


@dataclass(frozen=True)
class Source:
    """A document as bytes or as a local file."""

    content_type: str
    limits: Limits
    data: bytes | None = None
    path: str | None = None

    def open(self) -> BinaryIO:
        """A new seekable stream over the bytes."""
        return io.BytesIO(self.data) if self.data is not None else Path(self.path or "").open("rb")

    def size_bytes(self) -> int:
        return len(self.data) if self.data is not None else Path(self.path or "").stat().st_size

    def whole(self) -> bytes:
        """All bytes, for formats that cannot be read otherwise."""
        if self.size_bytes() > self.limits.max_part_bytes:
            raise LimitExceeded(
                f"the document has {self.size_bytes():,} bytes; documents of type {self.content_type}"
                f" are read whole, up to {self.limits.max_part_bytes:,}"
            )
        return self.data if self.data is not None else Path(self.path or "").read_bytes()


@dataclass(frozen=True)
class Page:
    """A page, sheet, slide, chapter or message."""

    text: str | None
    """None when this page cannot be read although others can."""
    title: str | None = None
    """Name of the sheet, heading of the chapter, subject of the message."""
    encoding: str | None = None
    """Where the document is text in itself: what it was decoded from."""


@dataclass(frozen=True)
class Reader:
    """How one format is read, and by which library."""

    name: str
    read: Callable[[Source], Iterator[Page]]
