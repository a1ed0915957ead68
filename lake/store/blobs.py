"""Rows of the table ``blobs``: where contents lie, and which arrival brought them first. Runs on the driver."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from lake.model import BlobRef, Row

if TYPE_CHECKING:
    import pyarrow.dataset as ds

REF_COLUMNS = [each.name for each in fields(BlobRef)]
"""The columns that make a ``BlobRef``."""


@dataclass(frozen=True)
class StoredBlob:
    """What ``blobs`` says of a content: where it lies and which arrival brought it first."""

    ref: BlobRef
    arrival_id: str


def stored_blobs(blobs: ds.Dataset, contents: Iterable[str]) -> dict[str, StoredBlob]:
    """What ``blobs`` has of these contents, in one pass; those it does not have are left out.

    The first row wins where two drivers stored the same content at once.
    """
    wanted = pc.field("sha256").isin(pa.array(sorted(set(contents)), pa.string()))
    found: dict[str, StoredBlob] = {}
    for row in blobs.to_table(columns=[*REF_COLUMNS, "arrival_id"], filter=wanted).to_pylist():
        arrival_id = row.pop("arrival_id")
        found.setdefault(row["sha256"], StoredBlob(BlobRef(**row), arrival_id))
    return found


@contextlib.contextmanager
def asking(**tables: ds.Dataset) -> Iterator[Any]:
    """A DuckDB connection that sees these datasets by name."""
    import duckdb

    with duckdb.connect(":memory:") as connection:
        for name, dataset in tables.items():
            connection.register(name, dataset)
        yield connection


def blob_row(ref: BlobRef, device_id: str | None, first_seen_at_utc: datetime | None, arrival_id: str | None) -> Row:
    """The row of a content."""
    return {
        **{name: getattr(ref, name) for name in REF_COLUMNS},
        "device_id": device_id,
        "first_seen_at_utc": first_seen_at_utc,
        "arrival_id": arrival_id,
    }
