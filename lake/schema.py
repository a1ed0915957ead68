"""The tables of the lake: one Arrow schema each, the same for every engine that writes or reads them.

Times are UTC timestamps in microseconds, unknown is null, sha256 is lower-case hexadecimal text. More columns may be
added at the end; none is renamed.
"""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = 1

UTC = pa.timestamp("us", tz="UTC")

FILE = pa.struct(
    [
        pa.field("uri", pa.string()),
        pa.field("offset", pa.int64()),
        pa.field("size", pa.int64()),
        pa.field("content_type", pa.string()),
        pa.field("checksum", pa.string()),
        pa.field("inline", pa.binary()),
    ]
)
"""A FILE reference, with the field names of Delta's FILE-type RFC. ``checksum`` is ``sha256:<hex>``."""

ARRIVALS = pa.schema(
    [
        ("arrival_id", pa.string()),
        ("source", pa.string()),
        ("key", pa.string()),
        ("version", pa.string()),
        ("size_bytes", pa.int64()),
        ("modified_at_utc", UTC),
        ("seen_at_utc", UTC),
        ("device_id", pa.string()),
        ("state", pa.string()),
        ("sha256", pa.string()),
        ("asset_id", pa.string()),
        ("run_id", pa.string()),
    ]
)

BLOBS = pa.schema(
    [
        ("sha256", pa.string()),
        ("size_bytes", pa.int64()),
        ("pack_uri", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("codec", pa.string()),
        ("crc32c", pa.int64()),
        ("content_type", pa.string()),
        ("device_id", pa.string()),
        ("first_seen_at_utc", UTC),
        ("arrival_id", pa.string()),
    ]
)
"""``arrival_id`` is the arrival that brought the content first: a run that was killed between two commits can tell
what it landed itself from what was there before."""

ASSETS = pa.schema(
    [
        ("asset_id", pa.string()),
        ("sha256", pa.string()),
        ("file", FILE),
        ("path", pa.string()),
        ("source", pa.string()),
        ("media_kind", pa.string()),
        ("content_type", pa.string()),
        ("device_id", pa.string()),
        ("captured_at_utc", UTC),
        ("received_at_utc", UTC),
        ("size_bytes", pa.int64()),
        ("container", pa.string()),
        ("codecs", pa.string()),
        ("duration_s", pa.float64()),
        ("width_px", pa.int32()),
        ("height_px", pa.int32()),
        ("frame_rate_hz", pa.float64()),
        ("sample_rate_hz", pa.int32()),
        ("channels", pa.int32()),
        ("pages", pa.int32()),
        ("notes", pa.string()),
        ("run_id", pa.string()),
    ]
)

QUARANTINE = pa.schema(
    [
        ("arrival_id", pa.string()),
        ("asset_id", pa.string()),
        ("sha256", pa.string()),
        ("path", pa.string()),
        ("source", pa.string()),
        ("stage", pa.string()),
        ("analysis", pa.string()),
        ("analysis_version", pa.string()),
        ("params_hash", pa.string()),
        ("error_class", pa.string()),
        ("message", pa.string()),
        ("attempt", pa.int32()),
        ("run_id", pa.string()),
        ("at_utc", UTC),
        ("model_hash", pa.string()),
    ]
)
"""Append-only. A failure that a later attempt mended has a last row with a null ``error_class``."""

RUNS = pa.schema(
    [
        ("run_id", pa.string()),
        ("verb", pa.string()),
        ("arguments", pa.string()),
        ("state", pa.string()),
        ("exit_status", pa.int32()),
        ("started_at_utc", UTC),
        ("ended_at_utc", UTC),
        ("seconds", pa.float64()),
        ("engine", pa.string()),
        ("rows_in", pa.int64()),
        ("rows_out", pa.int64()),
        ("rows_failed", pa.int64()),
        ("bytes", pa.int64()),
        ("lake_version", pa.string()),
        ("message", pa.string()),
    ]
)
"""Append-only: a row with state ``running`` at the start, then one with ``done``, ``failed`` or ``interrupted``."""

SLOW = pa.struct(
    [("sha256", pa.string()), ("seconds", pa.float64()), ("size_bytes", pa.int64()), ("media_kind", pa.string())]
)
COST_SUMS = pa.struct(
    [
        ("media_kind", pa.string()),
        ("analyses", pa.string()),
        ("records", pa.int64()),
        ("size_bytes", pa.int64()),
        *((name, pa.float64()) for name in ("seconds", "u", "uu", "z", "uz")),
    ]
)

RUN_STAGES = pa.schema(
    [
        ("run_id", pa.string()),
        ("stage", pa.string()),
        ("rows_in", pa.int64()),
        ("rows_out", pa.int64()),
        ("rows_failed", pa.int64()),
        ("bytes", pa.int64()),
        ("seconds", pa.float64()),
        ("p50_s", pa.float64()),
        ("p95_s", pa.float64()),
        ("p99_s", pa.float64()),
        ("slowest", pa.list_(SLOW)),
        ("model_loads", pa.int64()),
        ("peak_memory_bytes", pa.int64()),
        ("costs", pa.list_(COST_SUMS)),
    ]
)
"""``slowest`` are the ten recordings that took longest; ``costs`` is what the next run learns from, see
``lake.analysis.costs``."""

LIBRARY_VERSIONS = pa.schema(
    [
        ("library", pa.string()),
        ("version", pa.int64()),
        ("table", pa.string()),
        ("delta_version", pa.int64()),
        ("rows", pa.int64()),
        ("added", pa.int64()),
        ("changed", pa.int64()),
        ("removed", pa.int64()),
        ("quality", pa.string()),
        ("spec_hash", pa.string()),
        ("inputs", pa.string()),
        ("built_at_utc", UTC),
        ("run_id", pa.string()),
    ]
)

SCRUBS = pa.schema(
    [
        ("key", pa.string()),
        ("size_bytes", pa.int64()),
        ("damages", pa.int32()),
        ("crc32c", pa.int64()),
        ("at_utc", UTC),
        ("run_id", pa.string()),
    ]
)
"""Append-only: each time that an object of the store was read whole and compared with its checksums."""

ERASURES = pa.schema(
    [
        ("erasure_id", pa.string()),
        ("kind", pa.string()),
        ("name", pa.string()),
        ("rows", pa.int64()),
        ("size_bytes", pa.int64()),
        ("reason", pa.string()),
        ("run_id", pa.string()),
        ("at_utc", UTC),
    ]
)
"""Append-only: the certificate of each erasure, a row for each thing that was removed. ``kind`` and ``name`` are:
``content`` and its sha256 (written first: from then on it is not read and not taken in any more), ``asset`` and its id,
``rows`` and the table they were in, ``object`` and its key in the store, ``files`` and the table whose older versions
they were, ``versions`` and the folder whose older object versions they were, and at the end ``done``."""

MODELS = pa.schema(
    [
        ("name", pa.string()),
        ("version", pa.int64()),
        ("task", pa.string()),
        ("format", pa.string()),
        ("licence", pa.string()),
        ("model_hash", pa.string()),
        ("size_bytes", pa.int64()),
        ("files", pa.list_(pa.struct([("path", pa.string()), ("size_bytes", pa.int64()), ("sha256", pa.string())]))),
        ("added_at_utc", UTC),
        ("run_id", pa.string()),
    ]
)
"""Append-only: a row for each version of a registered model. Its files lie below ``models/<name>/<version>``."""

BRONZE: dict[str, pa.Schema] = {
    "arrivals": ARRIVALS,
    "blobs": BLOBS,
    "assets": ASSETS,
    "quarantine": QUARANTINE,
    "runs": RUNS,
    "run_stages": RUN_STAGES,
    "library_versions": LIBRARY_VERSIONS,
    "scrubs": SCRUBS,
    "erasures": ERASURES,
    "models": MODELS,
}
"""Tables that exist from ``init`` on, by name."""

PROVENANCE: list[pa.Field] = [
    pa.field("sha256", pa.string()),
    pa.field("analysis_version", pa.string()),
    pa.field("params_hash", pa.string()),
    pa.field("model_hash", pa.string()),
    pa.field("run_id", pa.string()),
]
"""First columns of every ``feature_*`` table."""

PIECE: dict[str, pa.DataType] = {
    "start_s": pa.float64(),
    "end_s": pa.float64(),
    "page": pa.int32(),
    "frame": pa.int64(),
}
"""Piece columns an analysis may declare: the span, page or frame of the recording that a row is about."""


def feature_schema(piece: tuple[str, ...], fields: pa.Schema) -> pa.Schema:
    """Schema of ``feature_<analysis>``: provenance, the piece columns that apply, the analysis's own fields.

    A recording in which the analysis found nothing has one row with null piece and null fields: it says "analysed,
    nothing there", and keeps "done" and "results" in one commit.
    """
    return pa.schema([*PROVENANCE, *(pa.field(name, PIECE[name]) for name in piece), *fields])
