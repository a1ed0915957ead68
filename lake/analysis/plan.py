"""What lacks a result: contents × analyses less what is done and what failed, in the order of the packs."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from lake.analysis.base import Analysis
from lake.analysis.costs import (
    BY_DURATION,
    BY_SIZE,
    CONSTANTS,
    MOST_WEIGHT,
    PIXEL_BYTES,
    SECOND_BYTES,
    Costs,
    Group,
    Load,
    Sums,
    group_of,
    merged,
    of_rows,
)
from lake.model import AnalysisKey, BlobRef, MediaKind
from lake.tables import Tables

if TYPE_CHECKING:
    import duckdb

STAGE = "analyze"
LEARNED_FROM_RUNS = 20
"""The newest runs whose record of costs is read."""


@dataclass(frozen=True)
class WorkItem:
    """One content and the analyses it lacks."""

    ref: BlobRef
    media_kind: MediaKind
    content_type: str
    analyses: tuple[str, ...]
    weight_bytes: int | None = None
    """What its cost grows with, by its duration; None: its size."""
    threads: int = 1
    """Cores that it may use while others have nothing to do: see ``cut``."""

    @property
    def group(self) -> Group:
        by = BY_SIZE if self.weight_bytes is None else BY_DURATION
        return group_of(self.media_kind + by, self.analyses)

    @property
    def load(self) -> Load:
        size_bytes = self.ref.size_bytes
        return Load(1, size_bytes, size_bytes if self.weight_bytes is None else self.weight_bytes)


@dataclass(frozen=True)
class Tried:
    """How often an analysis failed on a content, under one key."""

    sha256: str
    key: AnalysisKey
    attempts: int
    open: bool
    """The last attempt failed too, and nothing has mended it."""


@dataclass(frozen=True)
class Backlog:
    """How much there is to do, by analysis, and the contents it has been done for already."""

    todo: dict[str, int]
    skipped: dict[str, int]


_DONE = """
    SELECT DISTINCT sha256 FROM features
    WHERE analysis_version = $version AND params_hash = $params AND model_hash IS NOT DISTINCT FROM $model
"""

# Not a temporary one: it is asked while the work is streamed, and a connection has one open result.
_TRIED = """
    CREATE TABLE tried AS
    SELECT sha256, analysis, analysis_version, params_hash, model_hash, max(attempt) AS attempt,
           arg_max(coalesce(error_class, ''), attempt) <> '' AS open
    FROM quarantine WHERE stage = 'analyze' AND list_contains($names, analysis) GROUP BY ALL
"""

_FAILED = """
    SELECT sha256 FROM tried
    WHERE open AND analysis = $name AND analysis_version = $version AND params_hash = $params
          AND model_hash IS NOT DISTINCT FROM $model
"""

_OVERTAKEN = """
    SELECT t.* FROM tried t
    WHERE open AND EXISTS (FROM finished f WHERE NOT failed AND f.sha256 = t.sha256 AND f.analysis = t.analysis)
"""

# A content may have several names, and names say what it is where bytes do not (raw samples, a table): the kind that
# more is known of counts, and a name under which it is broken does not.
_CONTENTS = """
    CREATE TEMP TABLE contents AS
    SELECT sha256, one.media_kind, one.content_type, one.size_bytes,
           CASE WHEN weight IS NOT NULL  -- which least and greatest would pass over
                THEN least(greatest(weight, one.size_bytes / $most), one.size_bytes * $most)::BIGINT END AS weight_bytes
    FROM (SELECT sha256,
                 arg_min({'media_kind': media_kind, 'content_type': content_type, 'size_bytes': size_bytes},
                         {'unknown': media_kind = 'other', 'type': content_type}) AS one,
                 any_value(CASE WHEN NOT isfinite(duration_s) OR duration_s <= 0 THEN NULL
                                WHEN media_kind = 'audio' THEN duration_s * $second
                                WHEN media_kind = 'video' AND isfinite(frame_rate_hz)
                                    THEN duration_s * frame_rate_hz * width_px * height_px * $pixel END) AS weight
    FROM assets
    WHERE asset_id NOT IN (
        SELECT asset_id FROM quarantine WHERE stage = 'ingest' AND asset_id IS NOT NULL
        GROUP BY asset_id, arrival_id HAVING arg_max(coalesce(error_class, ''), attempt) <> ''
    )
    GROUP BY sha256)
"""

_LOADS = """
    SELECT media_kind || CASE WHEN weight_bytes IS NULL THEN $by_size ELSE $by_duration END, analyses,
           count(*), sum(size_bytes)::BIGINT, sum(coalesce(weight_bytes, size_bytes))::BIGINT
    FROM (
        SELECT c.sha256, c.media_kind, c.size_bytes, c.weight_bytes, list(a.analysis ORDER BY a.analysis) AS analyses
        FROM contents c JOIN applies a USING (media_kind, content_type)
        ANTI JOIN finished f ON f.sha256 = c.sha256 AND f.analysis = a.analysis
        GROUP BY ALL
    ) GROUP BY ALL
"""

_WORK = """
    SELECT b.sha256, b.size_bytes, b.pack_uri, b."offset", b.length, b.codec, b.crc32c, b.content_type,
           any_value(c.media_kind) AS media_kind, any_value(c.content_type) AS asset_type,
           any_value(c.weight_bytes) AS weight_bytes,
           list(a.analysis ORDER BY a.analysis) AS analyses
    FROM contents c
    JOIN applies a USING (media_kind, content_type)
    JOIN (SELECT DISTINCT ON (sha256) * FROM blobs) b ON b.sha256 = c.sha256
    ANTI JOIN finished f ON f.sha256 = c.sha256 AND f.analysis = a.analysis
    GROUP BY ALL ORDER BY b.pack_uri, b."offset"
"""


class Planner:
    """Plans one analyze run over the tables as they are now. Runs on the driver; DuckDB spills, so memory is flat."""

    def __init__(self, tables: Tables, analyses: Sequence[Analysis], *, retry: Iterable[tuple[str, str]] = ()) -> None:
        """``retry`` names (sha256, analysis) that failed and are to be tried again."""
        import duckdb

        self.analyses = analyses
        self.connection = duckdb.connect()
        for name in ("assets", "blobs", "quarantine"):
            self.connection.register(name, tables.dataset(name))
        weights = {"second": SECOND_BYTES, "pixel": PIXEL_BYTES, "most": MOST_WEIGHT}
        self.connection.execute(_CONTENTS, weights)
        self.connection.execute(_TRIED, {"names": [analysis.name for analysis in analyses]})
        self._applies()
        self.connection.execute("CREATE TEMP TABLE finished (sha256 VARCHAR, analysis VARCHAR, failed BOOLEAN)")
        for analysis in analyses:
            self._finished(tables, analysis)
        for sha256, analysis_name in retry:
            self.connection.execute(
                "DELETE FROM finished WHERE failed AND sha256 = ? AND analysis = ?", [sha256, analysis_name]
            )

    def backlog(self) -> Backlog:
        rows = self.connection.execute(
            """SELECT a.analysis, count(*) FILTER (f.sha256 IS NULL), count(*) FILTER (f.sha256 IS NOT NULL)
               FROM contents c JOIN applies a USING (media_kind, content_type)
               LEFT JOIN finished f ON f.sha256 = c.sha256 AND f.analysis = a.analysis GROUP BY ALL"""
        ).fetchall()
        todo, skipped = {a.name: 0 for a in self.analyses}, {a.name: 0 for a in self.analyses}
        for name, lacking, there in rows:
            todo[name], skipped[name] = lacking, there
        return Backlog(todo, skipped)

    def loads(self) -> dict[Group, Load]:
        """What there is to do, in recordings and bytes."""
        kinds = {"by_size": BY_SIZE, "by_duration": BY_DURATION}
        rows = self.connection.execute(_LOADS, kinds).fetchall()
        return {group_of(kind, analyses): Load(*load) for kind, analyses, *load in rows}

    def work(self) -> Iterator[WorkItem]:
        """Items in the order of the packs, streamed."""
        for batch in self.connection.sql(_WORK).to_arrow_reader(4096):
            for row in batch.to_pylist():
                names = ("media_kind", "asset_type", "analyses", "weight_bytes")
                kind, asset_type, analyses, weight_bytes = (row.pop(name) for name in names)
                yield WorkItem(BlobRef(**row), kind, asset_type, tuple(analyses), weight_bytes)

    def tried(self, items: Iterable[WorkItem]) -> list[Tried]:
        """What quarantine knew of these contents when the run began."""
        contents = [item.ref.sha256 for item in items]
        with self.connection.cursor() as beside:
            rows = beside.execute("FROM tried WHERE sha256 IN (SELECT unnest($contents))", {"contents": contents})
            return _tried(rows.fetchall())

    def overtaken(self) -> list[Tried]:
        """Failures that are open although there is a result: of another version, or a run ended before it said so."""
        return _tried(self.connection.execute(_OVERTAKEN).fetchall())

    def _applies(self) -> None:
        pairs = self.connection.execute("SELECT DISTINCT media_kind, content_type FROM contents").fetchall()
        rows = [
            {"analysis": a.name, "media_kind": kind, "content_type": content_type}
            for a in self.analyses
            for kind, content_type in pairs
            if a.applies_to(kind, content_type)
        ]
        schema = pa.schema([(name, pa.string()) for name in ("analysis", "media_kind", "content_type")])
        self.connection.register("applies", pa.Table.from_pylist(rows, schema=schema))

    def _finished(self, tables: Tables, analysis: Analysis) -> None:
        key = analysis.key()
        facts: dict[str, object] = {"version": key.version, "params": key.params_hash, "model": key.model_hash}
        if tables.exists(analysis.table):
            self.connection.register("features", tables.dataset(analysis.table))
            self._insert(_DONE, facts, analysis.name, failed=False)
        self._insert(_FAILED, {**facts, "name": analysis.name}, analysis.name, failed=True)

    def _insert(self, query: str, parameters: dict[str, object], name: str, *, failed: bool) -> None:
        self.connection.execute(
            f"INSERT INTO finished SELECT sha256, $analysis, $failed FROM ({query})",  # noqa: S608  (a constant above)
            {**parameters, "analysis": name, "failed": failed},
        )

    def close(self) -> None:
        connection: duckdb.DuckDBPyConnection = self.connection
        connection.close()


def _tried(rows: Iterable[tuple[Any, ...]]) -> list[Tried]:
    return [Tried(sha256, AnalysisKey(*key), attempts, is_open) for sha256, *key, attempts, is_open in rows]


def costs_so_far(tables: Tables, runs: int = LEARNED_FROM_RUNS) -> dict[Group, Sums]:
    """What the newest runs recorded of the costs of recordings; nothing in a lake that has no such record yet.

    Runs on the driver; reads the record of all runs as a stream.
    """
    record = tables.dataset("run_stages")
    if "costs" not in record.schema.names:
        return {}
    wanted = (pc.field("stage") == STAGE) & pc.field("costs").is_valid()
    newest: list[tuple[str, int, list[dict[str, Any]]]] = []
    number = 0  # so that no two are equal and rows are never compared
    for batch in record.to_batches(columns=["run_id", "costs"], filter=wanted):
        for row in batch.to_pylist():
            number += 1
            heapq.heappush(newest, (row["run_id"], number, row["costs"]))
            if len(newest) > runs:
                heapq.heappop(newest)
    return merged(of_rows(rows) for _, _, rows in sorted(newest))


def by_device(items: Iterable[WorkItem], accelerated: Set[str]) -> tuple[list[WorkItem], list[WorkItem]]:
    """Items of which an analysis computes on a GPU, and the others, which wait for none.

    All analyses of a recording stay together: it is decoded once, where the GPU is.
    """
    needing: list[WorkItem] = []
    others: list[WorkItem] = []
    for item in items:
        (others if accelerated.isdisjoint(item.analyses) else needing).append(item)
    return needing, others


def cut(items: Sequence[WorkItem], slots: int, costs: Costs = CONSTANTS) -> list[list[WorkItem]]:
    """Tasks of a wave: neighbours in the packs, about four per slot, dearest first so that no long one comes last.

    A recording that is dearer than a slot's share would be worked on when all others are done. It may use as many cores
    as it is shares.
    """
    prices = [costs.of(item.group, item.load.weight_bytes) for item in items]
    total = sum(prices)
    share = total / max(1, min(4 * slots, len(items)))
    tasks: list[list[WorkItem]] = []
    filled: list[float] = []
    for item, price in zip(items, prices, strict=True):
        if not tasks or filled[-1] >= share:
            tasks.append([])
            filled.append(0.0)
        threads = min(slots, math.ceil(price * slots / total - 0.01)) or 1
        tasks[-1].append(replace(item, threads=threads))
        filled[-1] += price
    dearest = sorted(range(len(tasks)), key=lambda number: -filled[number])
    return [tasks[number] for number in dearest]


def waves(items: Iterable[WorkItem], max_items: int, max_bytes: int) -> Iterator[list[WorkItem]]:
    """Cut the work into waves that are committed one by one."""
    wave: list[WorkItem] = []
    size_bytes = 0
    for item in items:
        if wave and (len(wave) >= max_items or size_bytes + item.ref.size_bytes > max_bytes):
            yield wave
            wave, size_bytes = [], 0
        wave.append(item)
        size_bytes += item.ref.size_bytes
    if wave:
        yield wave
