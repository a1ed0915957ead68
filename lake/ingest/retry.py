"""Trying again what ingest quarantined: from the stored bytes where there are any, else from the source."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, ClassVar, Self

from connectors.base import Connector, Options
from lake.catalog.query import local_sql
from lake.engine.base import Engine
from lake.errors import LakeError, UsageError
from lake.ingest.commit import RunFacts, asset_row, commit_wave, quarantine_row
from lake.ingest.run import IngestPlan, land
from lake.ingest.worker import Landing
from lake.model import Arrival, BlobRef, Row, Skipped
from lake.schema import ASSETS, QUARANTINE
from lake.store.blobs import stored_blobs
from lake.store.objects import ObjectStore
from lake.store.reader import open_blob
from lake.tables import Tables, rows_table


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
    committed = commit_wave(retry.tables, landings, retry.facts)
    asset_ids = {row["arrival_id"]: row["asset_id"] for row in committed}
    written = [
        quarantine_row(each, asset_ids[each.arrival.arrival_id], retry.facts, attempts[each.arrival.arrival_id] + 1)
        for each in landings
    ]
    _update_assets(retry, [each for each in landings if each.failure is None], asset_ids)
    retry.tables.append("quarantine", rows_table(written, QUARANTINE))
    report.tried += len(landings)
    report.failed += sum(each.failure is not None for each in landings)
    report.mended = report.tried - report.failed


def _update_assets(retry: Retry, landings: Sequence[Landing], asset_ids: dict[str, str]) -> None:
    """Give assets that were there already what is known of them now; the one place where a bronze row changes."""
    stored = stored_blobs(retry.tables.dataset("blobs"), {each.sha256 or "" for each in landings})
    rows = [
        asset_row(each, stored[each.sha256 or ""].ref, asset_ids[each.arrival.arrival_id], retry.facts)
        for each in landings
    ]
    if rows:
        retry.tables.update("assets", rows_table(rows, ASSETS), key="asset_id", keep=("received_at_utc", "run_id"))
