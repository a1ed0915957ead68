"""Rebuilding the table ``assets`` from the bytes: what arrived is known, what it is is found again. Runs on the driver.

Where ``arrivals`` are lost too, a recording is known by its content alone: path, source, and what the name said of the
time are gone for good, and its source is then ``stored://``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from connectors.base import Connector
from lake.engine.base import Engine
from lake.ingest.commit import RunFacts, asset_rows
from lake.ingest.retry import Stored
from lake.ingest.run import IngestPlan, land
from lake.model import Arrival, Row
from lake.schema import ASSETS
from lake.store.blobs import asking, stored_blobs
from lake.store.objects import ObjectStore
from lake.tables import Tables

FROM_ARRIVALS = """
    SELECT arrival_id, source, key, version, r.size_bytes, modified_at_utc, device_id, sha256, seen_at_utc, r.run_id
    FROM arrivals r SEMI JOIN blobs b USING (sha256)
    WHERE asset_id IS NOT NULL AND asset_id NOT IN (SELECT asset_id FROM assets)
    QUALIFY row_number() OVER (PARTITION BY asset_id ORDER BY seen_at_utc, arrival_id) = 1
    ORDER BY source, key"""
FROM_CONTENTS = """
    SELECT NULL AS arrival_id, 'stored://' AS source, sha256 AS key, '' AS version, size_bytes,
           first_seen_at_utc AS modified_at_utc, device_id, sha256, first_seen_at_utc AS seen_at_utc, NULL AS run_id
    FROM blobs WHERE sha256 NOT IN (SELECT sha256 FROM assets)
    QUALIFY row_number() OVER (PARTITION BY sha256 ORDER BY pack_uri) = 1
    ORDER BY sha256"""
"""Asked when there are no arrivals at all: a content without one is else of an ingest that was killed, which lands it
when it is run again."""


def missing_assets(tables: Tables, at_once: int) -> Iterator[list[Row]]:
    """Recordings whose bytes are stored and that ``assets`` does not have, some at a time."""
    datasets = {name: tables.dataset(name) for name in ("arrivals", "assets", "blobs")}
    query = FROM_ARRIVALS if datasets["arrivals"].count_rows() else FROM_CONTENTS
    with asking(**datasets) as db:
        found = db.execute(query)
        names = [column[0] for column in found.description]
        while rows := found.fetchmany(at_once):
            yield [dict(zip(names, row, strict=True)) for row in rows]


def rebuild_assets(
    store: ObjectStore,
    tables: Tables,
    plan: Callable[[Connector], IngestPlan],
    engine: Callable[[], Engine],
    facts: RunFacts,
    progress: Callable[[int], None] = lambda added: None,
) -> int:
    """Append the assets that are missing, each as it was when it landed, and return how many.

    ``plan`` gives the run's values for one connector.
    """
    tables.create("assets", ASSETS)
    added = 0
    for rows in missing_assets(tables, plan(Stored(store, {})).wave_max_arrivals):
        blobs = stored_blobs(tables.dataset("blobs"), {row["sha256"] for row in rows})
        arrivals = [_arrival(row) for row in rows]
        refs = {arrival.arrival_id: blobs[row["sha256"]].ref for arrival, row in zip(arrivals, rows, strict=True)}
        landed = land(plan(Stored(store, refs)), arrivals, engine())
        # What is damaged has no asset until a scrub has restored it: this is run again then.
        landings = landed.filter(pc.is_valid(landed.column("asset_id")))
        places = {sha256: (blob.ref.file_uri, blob.ref.offset) for sha256, blob in blobs.items()}
        tables.append("assets", _as_landed(asset_rows(landings, places, facts), arrivals, rows, landings, facts))
        added += landings.num_rows
        progress(added)
    return added


def _arrival(row: Row) -> Arrival:
    return Arrival(
        row["source"], row["key"], row["version"], row["size_bytes"], row["modified_at_utc"], row["device_id"]
    )


def _as_landed(
    assets: pa.Table, arrivals: list[Arrival], rows: list[Row], landings: pa.Table, facts: RunFacts
) -> pa.Table:
    """The time and the run are those of the landing, not of this rebuild."""
    by_id = {arrival.arrival_id: row for arrival, row in zip(arrivals, rows, strict=True)}
    known = [by_id[arrival_id] for arrival_id in landings.column("arrival_id").to_pylist()]
    for name, values in (
        ("received_at_utc", [row["seen_at_utc"] or facts.now for row in known]),
        ("run_id", [row["run_id"] or facts.run_id for row in known]),
    ):
        at = assets.schema.get_field_index(name)
        assets = assets.set_column(at, assets.schema.field(at), pa.array(values, assets.schema.field(at).type))
    return assets
