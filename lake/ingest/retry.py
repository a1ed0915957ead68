"""Trying again what ingest quarantined: from the stored bytes where there are any, else from the source."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, ClassVar, Self

import pyarrow as pa
import pyarrow.compute as pc

from connectors.base import Connector, Options
from lake.catalog.query import local_sql
from lake.engine.base import Engine
from lake.errors import LakeError, UsageError
from lake.ingest.commit import RunFacts, asset_rows, commit_wave, quarantine_rows
from lake.ingest.run import IngestPlan, land
from lake.model import Arrival, BlobRef, Row, Skipped
from lake.rewrite import update_rows
from lake.store.blobs import stored_blobs
from lake.store.objects import ObjectStore
from lake.store.reader import open_blob
from lake.tables import Tables


@dataclass(frozen=True)
class Stored:
    """The lake's own store as a source: arrivals whose bytes it holds already."""

    store: ObjectStore
    refs: dict[str, BlobRef]
    """By arrival id."""
    name: ClassVar[str] = "stored"

    @classmethod
    def from_uri(cls, uri: str, options: Options) -> Self:
        raise UsageError("the lake's own store is no source to ingest from")

    @property
    def source(self) -> str:
        return "stored://"

    def discover(self, after: str | None = None) -> Iterator[Arrival | Skipped]:
        yield from ()

    def open(self, arrival: Arrival) -> BinaryIO:
        return open_blob(self.store, self.refs[arrival.arrival_id])

    def verify(self, arrival: Arrival, size_bytes: int) -> None:
        """Stored bytes are verified by their checksum as they are read."""


@dataclass
class RetryReport:
    """What one retry did."""

    tried: int = 0
    mended: int = 0
    failed: int = 0
    sources_lost: list[str] = field(default_factory=list)
    """Sources that could not be opened, with the reason."""


def open_failures(tables: Tables, where: str = "TRUE", parameters: dict[str, object] | None = None) -> list[Row]:
    """Failures of ingest that no later attempt mended, with what is known of their arrivals.

    ``where`` is an expression of this module's callers over ``q``, never a user's text.
    """
    query = (
        "SELECT q.arrival_id, q.attempt, a.source, a.key, a.version, a.size_bytes, a.modified_at_utc, a.device_id,"  # noqa: S608
        f" a.sha256 FROM quarantine_open q JOIN arrival_state a USING (arrival_id) WHERE q.stage = 'ingest' AND {where}"
        " ORDER BY a.source, a.key"
    )
    return list(local_sql(tables, query, parameters or {}).to_pylist())


@dataclass(frozen=True)
class Retry:
    """Everything a retry needs, as values and two ways to open things."""

    store: ObjectStore
    tables: Tables
    connect: Callable[[str], Connector]
    """Opens a source by its URI."""
    plan: Callable[[Connector], IngestPlan]
    """The run's values for one connector."""
    engine: Callable[[], Engine]
    facts: RunFacts


def retry_ingest(retry: Retry, failures: Sequence[Row]) -> RetryReport:
    """Try failures of ingest again. What succeeds counts as landed, and its asset gets its technical metadata."""
    report = RetryReport()
    by_source: dict[str | None, list[Row]] = defaultdict(list)
    for row in failures:
        by_source[None if row["sha256"] else row["source"]].append(row)
    for source, rows in by_source.items():
        try:
            connector = _stored(retry, rows) if source is None else retry.connect(source)
        except LakeError as error:
            report.sources_lost.append(f"{source}: {error}")
            continue
        _retry(retry, connector, rows, report)
    return report


def _stored(retry: Retry, rows: Sequence[Row]) -> Stored:
    blobs = stored_blobs(retry.tables.dataset("blobs"), {row["sha256"] for row in rows})
    return Stored(retry.store, {row["arrival_id"]: blobs[row["sha256"]].ref for row in rows})


def _retry(retry: Retry, connector: Connector, rows: Sequence[Row], report: RetryReport) -> None:
    attempts = {row["arrival_id"]: row["attempt"] for row in rows}
    wave = [
        Arrival(r["source"], r["key"], r["version"], r["size_bytes"], r["modified_at_utc"], r["device_id"])
        for r in rows
    ]
    landings = land(retry.plan(connector), wave, retry.engine())
    # The first attempt has its row in quarantine, so the commit adds none; the rows of this attempt follow here.
    commit_wave(retry.tables, landings, retry.facts)
    mended = landings.filter(pc.is_null(landings.column("error_class")))
    _update_assets(retry, mended.filter(pc.is_valid(mended.column("asset_id"))))
    tries = [attempts[arrival_id] + 1 for arrival_id in landings.column("arrival_id").to_pylist()]
    retry.tables.append("quarantine", quarantine_rows(landings, retry.facts, tries))
    report.tried += landings.num_rows
    report.mended += mended.num_rows
    report.failed = report.tried - report.mended


def _update_assets(retry: Retry, landings: pa.Table) -> None:
    """Give assets that were there already what is known of them now; the one place where a bronze row changes."""
    stored = stored_blobs(retry.tables.dataset("blobs"), landings.column("sha256").to_pylist())
    places = {sha256: (blob.ref.file_uri, blob.ref.offset) for sha256, blob in stored.items()}
    rows = asset_rows(landings, places, retry.facts)
    update_rows(retry.tables, "assets", rows, on={"asset_id": "asset_id"}, keep=("received_at_utc", "run_id"))
