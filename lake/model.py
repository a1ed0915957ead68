"""The nouns of the lake. Every module speaks them; they import nothing of the lake.

Those that travel with every record have no slots: a frozen class with slots is pickled by Python code, at several times
the cost (30 µs a record each way in a task of ingest, 10 without).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

MediaKind = Literal["audio", "video", "image", "document", "table", "other"]
MEDIA_KINDS: tuple[MediaKind, ...] = ("audio", "video", "image", "document", "table", "other")

ArrivalState = Literal["pending", "landed", "duplicate", "quarantined", "erased"]


def stable_id(*parts: str) -> str:
    """32 hexadecimal digits that depend on the parts alone; parts are joined by NUL so that none runs into the next."""
    return hashlib.sha256("\0".join(parts).encode("utf-8")).hexdigest()[:32]


@dataclass(frozen=True)
class Arrival:
    """One thing a connector saw: a path or key with the version it had then. Known without opening it."""

    source: str
    """URI of the source it lies in, e.g. ``file:///data/cam01`` or ``s3://bucket/prefix``."""
    key: str
    """Path below the source with ``/`` between parts; bytes that are no UTF-8 (and ``%`` itself) percent-escaped."""
    version: str
    """Changes whenever the content may have changed (size, times, inode; or the ETag of an object)."""
    size_bytes: int
    modified_at_utc: datetime | None = None
    device_id: str | None = None
    problem: str | None = None
    """Why the connector already knows that this cannot be read (no permission, say); None when it can be tried."""

    @property
    def arrival_id(self) -> str:
        return stable_id("arrival", self.source, self.key, self.version)


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something a connector saw and never opens: a pipe, a socket, a device node, a link out of the folder."""

    key: str
    reason: str


@dataclass(frozen=True)
class BlobRef:
    """Where the bytes of one content lie. ``pack_uri`` is the key below the root, of a pack or of a single blob."""

    sha256: str
    size_bytes: int
    pack_uri: str
    offset: int
    length: int
    codec: str
    crc32c: int | None
    """None in what a FILE reference leads to, which has the sha256 alone."""
    content_type: str

    @property
    def file_uri(self) -> str:
        """What a FILE reference says: the key, with the codec as a fragment where the original does not lie there.

        No object has such a name, so who knows nothing of codecs finds nothing, and never other bytes.
        """
        return self.pack_uri if self.codec in ("raw", "stored") else f"{self.pack_uri}#{self.codec}"


@dataclass(frozen=True)
class Technical:
    """What the bytes of a recording say about themselves; unknown is None."""

    container: str | None = None
    codecs: str | None = None
    duration_s: float | None = None
    width_px: int | None = None
    height_px: int | None = None
    frame_rate_hz: float | None = None
    sample_rate_hz: int | None = None
    channels: int | None = None
    pages: int | None = None
    captured_at_utc: datetime | None = None
    notes: str | None = None
    """What a person should know: macros or scripts present, declared dimensions over the limit …"""

    def to_plain(self) -> dict[str, Any]:
        """As values that msgpack knows: the time as ISO text."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        captured = self.captured_at_utc
        return {**plain, "captured_at_utc": captured.isoformat() if captured else None}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Technical:
        """The way back from ``to_plain``. The child that sends this is not trusted, nor are the headers it read.

        Raises:
            TypeError, ValueError: an unknown name, or a value that no table holds (a sample rate of 4 GHz).
        """
        for name, value in plain.items():
            if value is not None:
                _check(name, value)
        captured = plain.get("captured_at_utc")
        return cls(**{**plain, "captured_at_utc": datetime.fromisoformat(captured) if captured else None})


_COUNTS = frozenset(["width_px", "height_px", "sample_rate_hz", "channels", "pages"])
_AMOUNTS = frozenset(["duration_s", "frame_rate_hz"])
MAX_COUNT = 2**31 - 1
"""Counts are 32-bit columns."""


def _check(name: str, value: object) -> None:
    if name in _COUNTS:
        believed = isinstance(value, int) and 0 <= value <= MAX_COUNT
    elif name in _AMOUNTS:
        believed = isinstance(value, (int, float)) and math.isfinite(value) and value >= 0
    else:
        believed = isinstance(value, str)
    if not believed:
        raise ValueError(f"{name} is {value!r:.100}")


@dataclass(frozen=True)
class Sniffed:
    """What the first bytes (and, for zip and OLE containers, the directory) say that a content is."""

    content_type: str
    media_kind: MediaKind


@dataclass(frozen=True, slots=True)
class Device:
    """A perception device, described in ``conf/devices/*.yaml``."""

    id: str
    kind: str
    place: str | None = None
    zone: str | None = None
    owner_unit: str | None = None
    source_class: Literal["perception", "administrative", "social"] = "perception"
    clock_offset_s: float = 0.0
    """Seconds to add to the device's own clock to get UTC."""
    path_pattern: str | None = None
    """Glob on ``Arrival.key`` that says which arrivals are this device's."""
    captured_at_pattern: str | None = None
    """Regular expression with named groups year, month, day, hour, minute, second on the key."""
    source: str | None = None
    """URI to ingest from when the device is named on the command line."""


@dataclass(frozen=True)
class Failure:
    """Why one recording could not be used; becomes a row of ``quarantine``."""

    error_class: str
    message: str


@dataclass(frozen=True, slots=True)
class Media:
    """A recording handed to an analysis: its bytes or a local file, and what ingest found out about it."""

    sha256: str
    content_type: str
    media_kind: MediaKind
    data: bytes | None = None
    path: str | None = None
    technical: Technical = field(default_factory=Technical)
    threads: int = 1
    """Cores that its decode may use: more than one where a long recording would leave others idle."""
    shared: Any = field(default=None, repr=False, compare=False)
    """The decode that analyses of this recording share (``lake.media.one_pass.OnePass``); None for one alone."""


@dataclass(frozen=True, slots=True)
class AnalysisKey:
    """What a result depends on besides the content."""

    analysis: str
    version: str
    params_hash: str
    model_hash: str | None = None


Row = dict[str, Any]
