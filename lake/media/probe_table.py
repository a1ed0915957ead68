"""Technical metadata of tables and text."""

from __future__ import annotations

from typing import BinaryIO

from lake.errors import Damaged
from lake.media.foreign import first_line
from lake.media.limits import Limits
from lake.model import Sniffed, Technical

CONTAINERS = {
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
    "application/x-ndjson": "jsonl",
    "application/json": "json",
    "text/html": "html",
    "text/plain": "text",
    "text/xml": "xml",
    "application/rtf": "rtf",
    "application/mbox": "mbox",
    "application/x-fictionbook+xml": "fb2",
}


def probe_text(stream: BinaryIO, sniffed: Sniffed, size_bytes: int, limits: Limits) -> Technical:
    """Text says nothing about itself but its format."""
    return Technical(container=CONTAINERS.get(sniffed.content_type))


def probe_parquet(stream: BinaryIO, sniffed: Sniffed, size_bytes: int, limits: Limits) -> Technical:
    """Rows and columns by the footer, which is missing when the file is cut off."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        footer = pq.read_metadata(stream)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Damaged(f"the Parquet file is cut off or damaged: {first_line(error)}") from error
    return Technical(container="parquet", notes=f"{footer.num_rows:,} rows in {footer.num_columns} columns")
