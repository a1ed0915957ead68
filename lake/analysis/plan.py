"""What lacks a result: contents × analyses less what is done and what failed, in the order of the packs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from lake.analysis.base import Analysis
from lake.model import BlobRef, MediaKind
from lake.tables import Tables

if TYPE_CHECKING:
    import duckdb

COST_FACTOR = {"video": 1.0, "audio": 0.4, "image": 2.0, "document": 4.0, "table": 0.1, "other": 0.1}
"""Relative decoding cost of a byte, by media kind."""
PER_RECORD_COST = 256 * 1024


@dataclass(frozen=True)
class WorkItem:
    """One content and the analyses it lacks."""

    ref: BlobRef
    media_kind: MediaKind
    content_type: str
    analyses: tuple[str, ...]
    threads: int = 1
    """Cores that it may use while others have nothing to do: see ``cut``."""

    @property
    def cost(self) -> float:
        return self.ref.size_bytes * COST_FACTOR[self.media_kind] + PER_RECORD_COST


@dataclass(frozen=True)
class Backlog:
    """How much there is to do, by analysis, and the contents it has been done for already."""

    todo: dict[str, int]
    skipped: dict[str, int]


_DONE = """
    SELECT DISTINCT sha256 FROM features
    WHERE analysis_version = $version AND params_hash = $params AND model_hash IS NOT DISTINCT FROM $model
"""

_FAILED = """
    SELECT sha256 FROM quarantine
    WHERE stage = 'analyze' AND analysis = $name AND analysis_version = $version AND params_hash = $params
          AND model_hash IS NOT DISTINCT FROM $model
    GROUP BY sha256 HAVING arg_max(coalesce(error_class, ''), attempt) <> ''
"""

_CONTENTS = """
    CREATE TEMP TABLE contents AS
    SELECT sha256, any_value(media_kind) AS media_kind, any_value(content_type) AS content_type FROM assets
    WHERE sha256 NOT IN (
        SELECT sha256 FROM quarantine WHERE stage = 'ingest' AND sha256 IS NOT NULL
        GROUP BY sha256, arrival_id HAVING arg_max(coalesce(error_class, ''), attempt) <> ''
    )
    GROUP BY sha256
"""

_WORK = """
    SELECT b.sha256, b.size_bytes, b.pack_uri, b."offset", b.length, b.codec, b.crc32c, b.content_type,
           any_value(c.media_kind) AS media_kind, any_value(c.content_type) AS asset_type,
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
        self.connection.execute(_CONTENTS)
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

    def work(self) -> Iterator[WorkItem]:
        """Items in the order of the packs, streamed."""
        for batch in self.connection.sql(_WORK).to_arrow_reader(4096):
            for row in batch.to_pylist():
                analyses, kind, asset_type = row.pop("analyses"), row.pop("media_kind"), row.pop("asset_type")
                yield WorkItem(BlobRef(**row), kind, asset_type, tuple(analyses))

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


def cut(items: Sequence[WorkItem], slots: int) -> list[list[WorkItem]]:
    """Tasks of a wave: neighbours in the packs, about four per slot, dearest first so that no long one comes last.

    A recording that is dearer than a slot's share would be worked on when all others are done. It may use as many cores
    as it is shares.
    """
    total = sum(item.cost for item in items)
    items = [replace(item, threads=min(slots, math.ceil(item.cost * slots / total - 0.01)) or 1) for item in items]
    share = total / max(1, min(4 * slots, len(items)))
    tasks: list[list[WorkItem]] = []
    filled = share
    for item in items:
        if filled >= share:
            tasks.append([])
            filled = 0.0
        tasks[-1].append(item)
        filled += item.cost
    return sorted(tasks, key=lambda task: -sum(item.cost for item in task))


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
