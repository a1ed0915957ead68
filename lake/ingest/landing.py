"""What becomes of arrivals on an executor, and the columns in which the driver is told.

The driver gets columns and never an object a recording: making those there was a fifth of an ingest's time. They are
plain lists, for an import of Arrow costs a worker more than a small run's records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from lake.ingest.attribution import captured_at
from lake.model import Arrival, BlobRef, Device, Failure, Sniffed, Technical, stable_id


@dataclass
class Landing:
    """What became of one arrival on the executor."""

    arrival: Arrival
    sha256: str | None = None
    size_bytes: int | None = None
    blob: BlobRef | None = None
    """Set when this task stored the content; None when it was stored before or could not be read."""
    sniffed: Sniffed | None = None
    technical: Technical | None = None
    failure: Failure | None = None
    seconds: float = 0.0


_OF_ARRIVAL = ("arrival_id", "source", "key", "version", "modified_at_utc", "device_id")
_OF_CONTENT = ("sha256", "size_bytes", "seconds")
_OF_SNIFFED = ("content_type", "media_kind")
_OF_BLOB = ("pack_uri", "offset", "length", "codec", "crc32c")
_OF_FAILURE = ("error_class", "message")
_OF_TECHNICAL = tuple(field.name for field in fields(Technical))
_UNKNOWN = Technical()


def columns(landings: Sequence[Landing], devices: Mapping[str, Device]) -> dict[str, list[Any]]:
    """Landings as the columns of ``lake.ingest.commit.LANDINGS``. Runs on the executor.

    ``captured_at_utc`` is what the device's file name says, before what the content says of itself.
    """
    arrivals = [landing.arrival for landing in landings]
    technical = [landing.technical or _UNKNOWN for landing in landings]
    told = {
        **_attributes(arrivals, _OF_ARRIVAL),
        **_attributes(landings, _OF_CONTENT),
        **_attributes([landing.sniffed for landing in landings], _OF_SNIFFED),
        **_attributes([landing.blob for landing in landings], _OF_BLOB),
        **_attributes([landing.failure for landing in landings], _OF_FAILURE),
        **_attributes(technical, _OF_TECHNICAL),
        "listed_bytes": [arrival.size_bytes for arrival in arrivals],
        "asset_id": [asset_id_of(landing) for landing in landings],
    }
    told["captured_at_utc"] = [
        captured_at(devices.get(arrival.device_id or ""), arrival.key) or said.captured_at_utc
        for arrival, said in zip(arrivals, technical, strict=True)
    ]
    return told


def _attributes(items: Sequence[object | None], names: Sequence[str]) -> dict[str, list[Any]]:
    return {name: [getattr(item, name) if item is not None else None for item in items] for name in names}


def asset_id_of(landing: Landing) -> str | None:
    """One delivered recording: the same content at the same place is the same asset, whatever its times say."""
    if landing.sha256 is None:
        return None
    return stable_id("asset", landing.arrival.source, landing.arrival.key, landing.sha256)
