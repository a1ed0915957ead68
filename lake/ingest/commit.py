"""From landings to rows: who is new, who is a duplicate, who is quarantined. Runs on the driver, once a wave.

Order of the commits: packs (done by the executors), blobs, assets, quarantine, arrivals. ``arrivals`` is last, so a
run that is killed between two commits finds its arrivals undone, reads them again, and is told by what is stored
already which rows it must not write twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from lake.errors import CommitConflict
from lake.model import Technical
from lake.rewrite import masked
from lake.schema import ARRIVALS, ASSETS, BLOBS, FILE, QUARANTINE, UTC
from lake.store.blobs import StoredBlob
from lake.store.lookup import rows_with, stored_contents
from lake.tables import Tables

if TYPE_CHECKING:
    import pyarrow.dataset as ds

STAGE = "ingest"

LANDINGS = pa.schema(
    [
        *((name, pa.string()) for name in ("arrival_id", "source", "key", "version")),
        ("modified_at_utc", UTC),
        ("device_id", pa.string()),
        ("sha256", pa.string()),
        ("size_bytes", pa.int64()),
        ("seconds", pa.float64()),
        ("content_type", pa.string()),
        ("media_kind", pa.string()),
        ("pack_uri", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("codec", pa.string()),
        ("crc32c", pa.int64()),
        ("error_class", pa.string()),
        ("message", pa.string()),
        *(ASSETS.field(field.name) for field in fields(Technical)),
        ("listed_bytes", pa.int64()),
        ("asset_id", pa.string()),
    ]
)
"""What executors bring back of a wave, one row an arrival (see ``lake.ingest.landing``). ``size_bytes`` is what was
read, ``listed_bytes`` what the source said before; ``pack_uri`` to ``crc32c`` are null where the task did not store
the content itself, ``asset_id`` where nothing could be read."""

Places = Mapping[str, tuple[str, int]]
"""Pack (or large blob) and offset of each content."""


@dataclass(frozen=True)
class WaveRows:
    """The rows of one wave, by table."""

    blobs: pa.Table
    assets: pa.Table
    quarantine: pa.Table
    arrivals: pa.Table


@dataclass(frozen=True)
class RunFacts:
    run_id: str
    now: datetime


def sizes_stored(blobs: ds.Dataset, sizes: Iterable[int], limit: int) -> dict[str, int]:
    """Contents in rows of ``blobs`` that have one of these sizes, with it: what executors need not store again.

    Nothing beyond ``limit`` contents: then executors store anew and the commit drops what was there.
    """
    wanted = pc.field("size_bytes").isin(pa.array(sorted(set(sizes)), pa.int64()))
    if blobs.count_rows(filter=wanted) > limit:
        return {}
    found = blobs.to_table(columns=["sha256", "size_bytes"], filter=wanted)
    return dict(zip(found.column("sha256").to_pylist(), found.column("size_bytes").to_pylist(), strict=True))


def present(rows: ds.Dataset, column: str, values: Iterable[str], where: pc.Expression | None = None) -> set[str]:
    """Which of these values a column of some rows has already."""
    wanted = pc.field(column).isin(pa.array(sorted(set(values)), pa.string()))
    wanted = wanted if where is None else wanted & where
    return set(rows.to_table(columns=[column], filter=wanted).column(0).to_pylist())


def without_erased(landings: pa.Table, erased: Collection[str]) -> pa.Table:
    """Landings of which those with erased contents tell nothing but that they came: no content, asset or failure."""
    if not erased:
        return landings
    hidden = pc.is_in(landings.column("sha256"), pa.array(list(erased), pa.string()))
    return masked(landings, hidden, dict.fromkeys(("sha256", "asset_id", "pack_uri", "error_class", "message")))


def commit_wave(tables: Tables, landings: pa.Table, facts: RunFacts) -> pa.Table:
    """Append one wave of ``LANDINGS`` to the four tables and return its rows of ``arrivals``."""
    ordered = landings.sort_by([("key", "ascending"), ("source", "ascending")])
    contents = ordered.column("sha256").drop_null().to_pylist()
    stored = stored_contents(tables, contents)
    was_stored = pc.is_in(ordered.column("sha256"), pa.array(list(stored), pa.string()))
    assets = ordered.filter(was_stored).column("asset_id").to_pylist()
    failed = ordered.filter(pc.is_valid(ordered.column("error_class"))).column("arrival_id").to_pylist()
    rows = wave_rows(
        ordered,
        stored,
        present(rows_with(tables, "assets", assets), "asset_id", assets) if assets else set(),
        present(tables.dataset("quarantine"), "arrival_id", failed, pc.field("stage") == STAGE) if failed else set(),
        facts,
    )
    for name, added in (("blobs", rows.blobs), ("assets", rows.assets), ("quarantine", rows.quarantine)):
        if added.num_rows:  # not even opened otherwise
            tables.append(name, added)
    tables.append("arrivals", rows.arrivals)
    return rows.arrivals


def wave_rows(
    landings: pa.Table,
    stored: Mapping[str, StoredBlob],
    known_assets: set[str],
    known_failures: set[str],
    facts: RunFacts,
) -> WaveRows:
    """Pure: the rows that a wave adds to what is known. The first of several arrivals of one content lands it."""
    arrivals, contents, assets, uris, offsets, errors = (
        landings.column(name).to_pylist()
        for name in ("arrival_id", "sha256", "asset_id", "pack_uri", "offset", "error_class")
    )
    places = {sha256: (blob.ref.file_uri, blob.ref.offset) for sha256, blob in stored.items()}
    lander = {sha256: blob.arrival_id for sha256, blob in stored.items()}
    new_blobs: list[int] = []
    new_assets: list[int] = []
    for row, sha256 in enumerate(contents):
        if uris[row] is not None and sha256 not in places:
            places[sha256], lander[sha256] = (uris[row], offsets[row]), arrivals[row]
            new_blobs.append(row)
    seen = set(known_assets)
    for row, asset_id in enumerate(assets):
        if asset_id is not None and asset_id not in seen:
            seen.add(asset_id)
            new_assets.append(row)
    failures = [row for row, error in enumerate(errors) if error is not None and arrivals[row] not in known_failures]
    gone = next((sha256 for sha256 in contents if sha256 is not None and sha256 not in places), None)
    if gone is not None:
        raise CommitConflict(f"blob {gone} was erased while a recording with it landed; run the command again")
    # Another task may have stored the content that a task found in its own set: places are complete only now.
    states = [
        "quarantined"
        if error is not None
        else "erased"
        if sha256 is None
        else "landed"
        if lander[sha256] == arrival_id
        else "duplicate"
        for error, sha256, arrival_id in zip(errors, contents, arrivals, strict=True)
    ]
    return WaveRows(
        _rows(_take(landings, new_blobs), BLOBS, first_seen_at_utc=facts.now),
        asset_rows(_take(landings, new_assets), places, facts),
        quarantine_rows(_take(landings, failures), facts),
        _rows(
            landings.drop_columns(["size_bytes"]).rename_columns({"listed_bytes": "size_bytes"}),
            ARRIVALS,
            seen_at_utc=facts.now,
            state=states,
            run_id=facts.run_id,
        ),
    )


def asset_rows(landings: pa.Table, places: Places, facts: RunFacts) -> pa.Table:
    """What is known of recordings whose contents lie in ``places``."""
    contents = landings.column("sha256").to_pylist()
    file = {
        "uri": [places[sha256][0] for sha256 in contents],
        "offset": [places[sha256][1] for sha256 in contents],
        "size": landings.column("size_bytes").combine_chunks(),
        "content_type": landings.column("content_type").combine_chunks(),
        "checksum": [f"sha256:{sha256}" for sha256 in contents],
        "inline": [None] * len(contents),
    }
    arrays = [pa.array(file[field.name], field.type) for field in FILE]
    return _rows(
        landings,
        ASSETS,
        file=pa.StructArray.from_arrays(arrays, fields=list(FILE)),
        path=landings.column("key"),
        received_at_utc=facts.now,
        run_id=facts.run_id,
    )


def quarantine_rows(landings: pa.Table, facts: RunFacts, attempts: Sequence[int] | int = 1) -> pa.Table:
    """The rows that say why; a landing without a failure gets one that says that an earlier one is mended."""
    return _rows(
        landings,
        QUARANTINE,
        path=landings.column("key"),
        stage=STAGE,
        attempt=attempts,
        run_id=facts.run_id,
        at_utc=facts.now,
    )


def _take(landings: pa.Table, rows: Sequence[int]) -> pa.Table:
    return landings.take(pa.array(rows, pa.int64()))


def _rows(landings: pa.Table, schema: pa.Schema, **columns: Any) -> pa.Table:
    """Landings as rows of a table: ``columns`` (one value for all, or one each), else theirs by name, else null."""
    made = []
    for field in schema:
        if field.name in columns:
            value = columns[field.name]
            whole = isinstance(value, (list, pa.Array, pa.ChunkedArray))
            made.append(value if whole else pa.repeat(pa.scalar(value, field.type), landings.num_rows))
        elif field.name in landings.column_names:
            made.append(landings.column(field.name))
        else:
            made.append(pa.nulls(landings.num_rows, field.type))
    return pa.table(made, schema=schema)
