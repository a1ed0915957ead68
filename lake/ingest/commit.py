"""From landings to rows: who is new, who is a duplicate, who is quarantined. Runs on the driver, once a wave.

Order of the commits: packs (done by the executors), blobs, assets, quarantine, arrivals. ``arrivals`` is last, so a
run that is killed between two commits finds its arrivals undone, reads them again, and is told by what is stored
already which rows it must not write twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from lake.ingest.devices import captured_at
from lake.ingest.worker import Landing
from lake.model import BlobRef, Device, Row, Technical, stable_id
from lake.schema import ARRIVALS, ASSETS, BLOBS, QUARANTINE
from lake.store.blobs import StoredBlob, blob_row, stored_blobs
from lake.tables import Tables, rows_table

STAGE = "ingest"


@dataclass
class WaveRows:
    """The rows of one wave, by table."""

    blobs: list[Row] = field(default_factory=list)
    assets: list[Row] = field(default_factory=list)
    quarantine: list[Row] = field(default_factory=list)
    arrivals: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class RunFacts:
    run_id: str
    now: datetime
    devices: dict[str, Device]


def sizes_stored(tables: Tables, sizes: Iterable[int], limit: int) -> set[str]:
    """Contents stored already that have one of these sizes: what executors need not store again.

    An empty set beyond ``limit`` contents: then executors store anew and the commit drops what was there.
    """
    wanted = pc.field("size_bytes").isin(pa.array(sorted(set(sizes)), pa.int64()))
    dataset = tables.dataset("blobs")
    if dataset.count_rows(filter=wanted) > limit:
        return set()
    return set(dataset.to_table(columns=["sha256"], filter=wanted).column(0).to_pylist())


def present(
    tables: Tables, table: str, column: str, values: Iterable[str], where: pc.Expression | None = None
) -> set[str]:
    """Which of these values a column of a table has already."""
    wanted = pc.field(column).isin(pa.array(sorted(set(values)), pa.string()))
    wanted = wanted if where is None else wanted & where
    return set(tables.dataset(table).to_table(columns=[column], filter=wanted).column(0).to_pylist())


def commit_wave(tables: Tables, landings: Sequence[Landing], facts: RunFacts) -> list[Row]:
    """Append one wave to the four tables and return its rows of ``arrivals``.

    Each other table's rows are let go before they are written: a wave's rows are most of what the driver holds.
    """
    ordered = sorted(landings, key=lambda landing: landing.arrival.key)
    stored = stored_blobs(tables.dataset("blobs"), {x.sha256 for x in ordered if x.sha256})
    asset_ids = {asset_id_of(x) for x in ordered if x.sha256 and x.sha256 in stored}
    known_assets = present(tables, "assets", "asset_id", asset_ids) if asset_ids else set()
    failed = {x.arrival.arrival_id for x in ordered if x.failure}
    known_failures = (
        present(tables, "quarantine", "arrival_id", failed, pc.field("stage") == STAGE) if failed else set()
    )
    rows = wave_rows(ordered, stored, known_assets, known_failures, facts)
    for name, part, schema in (
        ("blobs", rows.blobs, BLOBS),
        ("assets", rows.assets, ASSETS),
        ("quarantine", rows.quarantine, QUARANTINE),
    ):
        table = rows_table(part, schema)
        part.clear()
        tables.append(name, table)
    tables.append("arrivals", rows_table(rows.arrivals, ARRIVALS))
    return rows.arrivals


def wave_rows(
    landings: Sequence[Landing],
    stored: dict[str, StoredBlob],
    known_assets: set[str],
    known_failures: set[str],
    facts: RunFacts,
) -> WaveRows:
    """Pure: the rows that a wave adds to what is known. The first of several arrivals of one content lands it."""
    rows = WaveRows()
    refs = {sha256: (blob.ref, blob.arrival_id) for sha256, blob in stored.items()}
    for landing in landings:
        if landing.blob is not None and landing.blob.sha256 not in refs:
            refs[landing.blob.sha256] = (landing.blob, landing.arrival.arrival_id)
            arrival = landing.arrival
            rows.blobs.append(blob_row(landing.blob, arrival.device_id, facts.now, arrival.arrival_id))
    # Another task may have stored the content that a task found in its own set: refs are complete only now.
    assets = set(known_assets)
    for landing in landings:
        asset_id = None
        if landing.sha256 is not None:
            asset_id = asset_id_of(landing)
            if asset_id not in assets:
                assets.add(asset_id)
                rows.assets.append(asset_row(landing, refs[landing.sha256][0], asset_id, facts))
        if landing.failure is not None and landing.arrival.arrival_id not in known_failures:
            rows.quarantine.append(quarantine_row(landing, asset_id, facts))
        state = _state(landing, refs)
        rows.arrivals.append(_arrival_row(landing, state, asset_id, facts))
    return rows


def asset_id_of(landing: Landing) -> str:
    """One delivered recording: the same content at the same place is the same asset, whatever its times say."""
    return stable_id("asset", landing.arrival.source, landing.arrival.key, landing.sha256 or "")


def _state(landing: Landing, refs: dict[str, tuple[BlobRef, str]]) -> str:
    if landing.failure is not None:
        return "quarantined"
    return "landed" if refs[landing.sha256 or ""][1] == landing.arrival.arrival_id else "duplicate"


def asset_row(landing: Landing, ref: BlobRef, asset_id: str, facts: RunFacts) -> Row:
    """What is known of a recording."""
    technical = landing.technical or Technical()
    sniffed = landing.sniffed
    device = facts.devices.get(landing.arrival.device_id or "")
    content_type = sniffed.content_type if sniffed else ref.content_type
    return {
        "asset_id": asset_id,
        "sha256": landing.sha256,
        "file": {
            "uri": ref.pack_uri,
            "offset": ref.offset,
            "size": ref.size_bytes,
            "content_type": content_type,
            "checksum": f"sha256:{landing.sha256}",
            "inline": None,
        },
        "path": landing.arrival.key,
        "source": landing.arrival.source,
        "media_kind": sniffed.media_kind if sniffed else "other",
        "content_type": content_type,
        "device_id": landing.arrival.device_id,
        "captured_at_utc": captured_at(device, landing.arrival.key) or technical.captured_at_utc,
        "received_at_utc": facts.now,
        "size_bytes": landing.size_bytes,
        "container": technical.container,
        "codecs": technical.codecs,
        "duration_s": technical.duration_s,
        "width_px": technical.width_px,
        "height_px": technical.height_px,
        "frame_rate_hz": technical.frame_rate_hz,
        "sample_rate_hz": technical.sample_rate_hz,
        "channels": technical.channels,
        "pages": technical.pages,
        "notes": technical.notes,
        "run_id": facts.run_id,
    }


def quarantine_row(landing: Landing, asset_id: str | None, facts: RunFacts, attempt: int = 1) -> Row:
    """The row that says why; without a failure it says that an earlier one is mended."""
    failure = landing.failure
    return {
        "arrival_id": landing.arrival.arrival_id,
        "asset_id": asset_id,
        "sha256": landing.sha256,
        "path": landing.arrival.key,
        "source": landing.arrival.source,
        "stage": STAGE,
        "error_class": failure.error_class if failure else None,
        "message": failure.message if failure else None,
        "attempt": attempt,
        "run_id": facts.run_id,
        "at_utc": facts.now,
    }


def _arrival_row(landing: Landing, state: str, asset_id: str | None, facts: RunFacts) -> Row:
    arrival = landing.arrival
    return {
        "arrival_id": arrival.arrival_id,
        "source": arrival.source,
        "key": arrival.key,
        "version": arrival.version,
        "size_bytes": arrival.size_bytes,
        "modified_at_utc": arrival.modified_at_utc,
        "seen_at_utc": facts.now,
        "device_id": arrival.device_id,
        "state": state,
        "sha256": landing.sha256,
        "asset_id": asset_id,
        "run_id": facts.run_id,
    }
