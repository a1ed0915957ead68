"""Erasure: recordings leave the lake for good, and a certificate says what went. Runs on the driver.

The order makes it safe to kill at any step; the next erasure completes what was begun:

1. the certificate names the contents: from then on they are not taken in again, whoever brings them;
2. their rows in ``blobs`` go: reads stop;
3. alone in the lake (``lake.store.alone``), rows go from every table, libraries are published anew without theirs,
   packs that hold the contents are written anew without them;
4. the past of the tables goes, with all older versions of objects: nothing that was deleted is still there to read.

Contents, assets, rows and objects are certified before they go, so that none lacks its row; files of the past and older
versions of objects are counted as they go.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from lake.engine.base import Engine
from lake.errors import LakeError, NotFound
from lake.history import forget_history
from lake.library.catalog import published_tables
from lake.library.withdraw import rows_of, unpublished, withdraw, without_origin
from lake.model import Row
from lake.rewrite import delete_rows, masked, rewrite
from lake.store.compact import CompactContext
from lake.store.expunge import move_out, objects_with
from lake.store.objects import BucketStore
from lake.store.staging import clear_staging
from lake.store.tombstones import ASSET, CONTENT, DONE, FILES, OBJECT, ROWS, VERSIONS, begun, certify
from lake.store.versions import delete_older_versions
from lake.tables import Tables

if TYPE_CHECKING:
    from lake.store.objects import ObjectInfo

TABLE_FOLDERS = ("tables/", "features/", "libraries/")


@dataclass(frozen=True)
class Erasure:
    """Everything an erasure needs, as values."""

    context: CompactContext
    tables: Tables
    run_id: str
    reason: str
    now: Callable[[], datetime]
    alone: Callable[[], AbstractContextManager[None]]
    """Waits until nobody else works in the lake, and keeps them waiting."""
    build: Callable[[str], None]
    """Builds a library anew; raises ``LakeError`` when it cannot."""


@dataclass
class EraseReport:
    """What an erasure did, or would do; the fixed fields of ``lake store erase --json``."""

    contents: int = 0
    assets: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    objects: int = 0
    bytes: int = 0
    """Bytes of the contents."""
    files: int = 0
    versions: int = 0
    built: list[str] = field(default_factory=list)
    """Libraries that were built anew, for they have tables whose rows lead to no recording."""
    unresolved: list[str] = field(default_factory=list)
    """What could not be cleared, and what to do; the erasure stays open until it is."""
    removals: list[Row] = field(default_factory=list)
    """Kind, name, rows and bytes of each thing removed: the rows of the certificate."""

    def add(self, rows: Iterable[Row]) -> list[Row]:
        new = list(rows)
        self.removals += new
        return new


Progress = Callable[[int], None]
"""Told how many tables are cleared, packs looked at, blobs moved, pasts forgotten: in turn, each from one."""


def erase(
    erasure: Erasure, chosen: Collection[str], engine: Callable[[], Engine], progress: Progress = lambda done: None
) -> EraseReport:
    """Erase these contents, and those of erasures that were begun and not ended.

    Raises:
        NotFound: there is nothing to erase.
        CommitConflict: others work in the lake for longer than is waited; reads have stopped.
    """
    tables = erasure.tables
    before = begun(tables)
    sizes = _sizes(tables, chosen)
    contents = sizes.keys() | before.contents
    _require(contents)
    report = EraseReport()
    if sizes:
        began = [_row(CONTENT, sha256, size_bytes=size) for sha256, size in sorted(sizes.items())]
        assets = [_row(ASSET, asset_id) for asset_id in sorted(_assets(tables, sizes.keys()) - before.assets)]
        _certify(erasure, report.add([*began, *assets, *_row_counts(tables, ["blobs"], contents)]))
    delete_rows(tables, "blobs", "sha256", contents)
    with erasure.alone():
        _sweep(erasure, contents, report, engine, progress)
    if not report.unresolved:
        certify(tables, [_signed(erasure, _row(DONE, ""), each) for each in sorted({erasure.run_id, *before.ids})])
    return _counted(report, sizes)


def preview(erasure: Erasure, chosen: Collection[str], progress: Progress = lambda done: None) -> EraseReport:
    """What ``erase`` would remove: contents, assets, rows and objects. Nothing is written.

    The pasts of tables and older versions of objects are not listed: what is in them is known when they go.

    Raises:
        NotFound: there is nothing to erase.
    """
    tables, store = erasure.tables, erasure.context.store
    before = begun(tables)
    sizes = _sizes(tables, chosen)
    contents = sizes.keys() | before.contents
    _require(contents)
    assets = _assets(tables, contents)
    rows = _row_counts(tables, _bronze(erasure), contents)
    rows += _library_counts(tables, contents, assets | before.assets)
    report = EraseReport(built=without_origin(tables, before.tables | {row["name"] for row in rows}))
    report.add(_row(CONTENT, sha256, size_bytes=size) for sha256, size in sorted(sizes.items()))
    report.add(_row(ASSET, asset_id) for asset_id in sorted(assets - before.assets))
    report.add(rows)
    report.add(_object(entry) for entry in objects_with(store, contents, progress))
    report.add(_object(entry) for entry in unpublished(store, tables))
    return _counted(report, sizes)


def _sweep(
    erasure: Erasure, contents: Collection[str], report: EraseReport, engine: Callable[[], Engine], progress: Progress
) -> None:
    tables, store = erasure.tables, erasure.context.store
    since = time.time()
    known = begun(tables)
    late = _assets(tables, contents) - known.assets
    assets = known.assets | late
    names = _bronze(erasure)
    rows = [*_row_counts(tables, names, contents), *_library_counts(tables, contents, assets)]
    _certify(erasure, report.add([*(_row(ASSET, asset_id) for asset_id in sorted(late)), *rows]))
    for number, name in enumerate(names, 1):
        _hide(tables, contents) if name == "arrivals" else delete_rows(tables, name, "sha256", contents)
        progress(number)
    for library in without_origin(tables, known.tables | {row["name"] for row in rows}):
        try:
            erasure.build(library)
            report.built.append(library)
        except LakeError as error:
            report.unresolved.append(f"{error}; mend it, then `lake store erase --finish`")
    withdraw(tables, contents, assets, erasure.run_id, erasure.now())
    held = objects_with(store, contents, progress)
    free, findings = move_out(erasure.context, tables, engine, held, lambda r: progress(r.blobs_moved))
    report.unresolved += findings
    free += unpublished(store, tables)
    _certify(erasure, report.add(_object(entry) for entry in free))
    for entry in free:
        store.delete(entry.key)
    _forget(erasure, report, [entry.key for entry in free], progress)
    clear_staging(store, since)


def _forget(erasure: Erasure, report: EraseReport, keys: Sequence[str], progress: Progress) -> None:
    """The past of all tables that recordings leave something in, then older versions of all that was deleted."""
    tables, store = erasure.tables, erasure.context.store
    for number, name in enumerate([*_bronze(erasure), *published_tables(tables)], 1):
        gone = forget_history(tables, name)
        _certify(erasure, report.add([_row(FILES, name, rows=gone.files, size_bytes=gone.size_bytes)]))
        progress(number)
    if isinstance(store, BucketStore):
        older = delete_older_versions(store.root, store.s3, [*keys, *TABLE_FOLDERS])
        _certify(erasure, report.add(_row(VERSIONS, key, rows=count) for key, count in older.items()))


def _require(contents: Collection[str]) -> None:
    if not contents:
        raise NotFound("there is nothing to erase: no such recording, and no erasure that was begun and not ended")


def _with(contents: Collection[str]) -> pc.Expression:
    return pc.field("sha256").isin(pa.array(sorted(contents), pa.string()))


def _sizes(tables: Tables, chosen: Collection[str]) -> dict[str, int]:
    """Those of the contents that the lake has, with their sizes."""
    wanted = _with(chosen)
    sizes: dict[str, int] = {}
    for name in ("assets", "blobs"):
        found = tables.dataset(name).to_table(columns=["sha256", "size_bytes"], filter=wanted)
        sizes |= zip(found.column(0).to_pylist(), found.column(1).to_pylist(), strict=True)
    return sizes


def _assets(tables: Tables, contents: Collection[str]) -> set[str]:
    found = tables.dataset("assets").to_table(columns=["asset_id"], filter=_with(contents))
    return set(found.column(0).to_pylist())


def _bronze(erasure: Erasure) -> list[str]:
    """The lake's own tables with rows of contents; of features also those of analyses that are not installed here."""
    keys = (entry.key.split("/") for entry in erasure.context.store.list("features"))
    features = {parts[1] for parts in keys if len(parts) > 3 and parts[2] == "_delta_log"}
    return ["blobs", "assets", "quarantine", "arrivals", *sorted(features)]


def _row_counts(tables: Tables, names: Sequence[str], contents: Collection[str]) -> list[Row]:
    """How many rows of these contents each table has; tables without any are left out."""
    wanted = _with(contents)
    counts = ((name, int(tables.dataset(name).count_rows(filter=wanted))) for name in names)
    return [_row(ROWS, name, rows=rows) for name, rows in counts if rows]


def _library_counts(tables: Tables, contents: Collection[str], assets: Collection[str]) -> list[Row]:
    counts = (
        (name, rows_of(tables, name, contents, assets, version)) for name, version in published_tables(tables).items()
    )
    return [_row(ROWS, name, rows=rows) for name, rows in counts if rows]


def _hide(tables: Tables, contents: Collection[str]) -> None:
    """Arrivals keep that something came, so that it is not taken in again, and not what it was."""
    among = pa.array(sorted(contents), pa.string())

    def change(old: pa.Table) -> tuple[pa.Table, int]:
        hidden = pc.fill_null(pc.is_in(old.column("sha256"), among), False)
        new = masked(old, hidden, {"state": "erased", "sha256": None, "asset_id": None})
        return new, int(pc.sum(hidden).as_py() or 0)

    rewrite(tables, "arrivals", "sha256", sorted(contents), change)


def _row(kind: str, name: str, *, rows: int | None = None, size_bytes: int | None = None) -> Row:
    return {"kind": kind, "name": name, "rows": rows, "size_bytes": size_bytes}


def _object(entry: ObjectInfo) -> Row:
    return _row(OBJECT, entry.key, size_bytes=entry.size_bytes)


def _certify(erasure: Erasure, rows: Sequence[Row]) -> None:
    certify(erasure.tables, [_signed(erasure, row, erasure.run_id) for row in rows])


def _signed(erasure: Erasure, row: Row, erasure_id: str) -> Row:
    said = {"erasure_id": erasure_id, "reason": erasure.reason, "run_id": erasure.run_id, "at_utc": erasure.now()}
    return {**row, **said}


def _counted(report: EraseReport, sizes: dict[str, int]) -> EraseReport:
    by_kind: dict[str, list[Row]] = {}
    for row in report.removals:
        by_kind.setdefault(row["kind"], []).append(row)
    report.contents, report.bytes = len(sizes), sum(sizes.values())
    report.assets = len(by_kind.get(ASSET, ()))
    for row in by_kind.get(ROWS, ()):
        report.rows[row["name"]] = report.rows.get(row["name"], 0) + row["rows"]
    report.objects = len(by_kind.get(OBJECT, ()))
    report.files = sum(row["rows"] for row in by_kind.get(FILES, ()))
    report.versions = sum(row["rows"] for row in by_kind.get(VERSIONS, ()))
    return report
