"""Reading and appending the lake's Delta tables without a JVM, and where each table lies.

Everything the lake itself writes is appended by delta-rs: one commit costs milliseconds, appends do not conflict, and
the create of a log entry is conditional on a folder (hard link) as on S3 (``If-None-Match``), which is what the lake's
LogStore does for Spark. Spark writes thematic libraries and reads all of it.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lake.commits import COMMIT_RETRIES, commit_files, known_again
from lake.delta_errors import delta_errors
from lake.errors import CommitConflict, StoreError
from lake.schema import BRONZE
from lake.table_files import filesystem_at

if TYPE_CHECKING:
    import pyarrow.dataset as ds
    from deltalake import DeltaTable, Transaction, WriterProperties

TABLE_PROPERTIES = {
    "delta.enableDeletionVectors": "false",
    "delta.checkpointInterval": "10",
    # Upkeep alone shortens the log: a writer does not know which versions are published or read (``lake.history``).
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 30 days",
    "delta.deletedFileRetentionDuration": "interval 7 days",
}
OPEN_ATTEMPTS = 3
_LOG_FILE_GONE = re.compile(r"_delta_log/\S+ not found")
CONFLICT_ATTEMPTS = 30
"""How often a write that reads first is tried while other writers are first: a minute and a half."""
ROW_GROUP_ROWS = 64 * 1024
MERGE_EVERY_COMMITS = 32
"""A table of 160 files takes 0.2 s to open, one of 32 a fifth of that; merging small files takes about as long once."""
SMALL_FILE_BYTES = 16 * 1024**2
"""Merging in passing makes files of this size and leaves them alone then, so that it never costs much."""
MERGED_FILE_BYTES = 128 * 1024**2


@dataclass(frozen=True)
class DataFile:
    """A Parquet file an executor wrote into a table's folder, not yet part of the table."""

    path: str
    """Relative to the table's folder."""
    size_bytes: int
    modified_at_ms: int
    rows: int


@dataclass(frozen=True)
class Tables:
    """The tables below one root. Pickles; opens nothing until asked."""

    root: str
    """A folder path or ``s3://bucket/prefix``."""
    storage_options: dict[str, str] | None = field(default=None, repr=False)
    """What delta-rs is told about the store, keys included: never shown."""

    def folder(self, name: str) -> str:
        """Key of a table's folder below the root: bronze by name, ``feature_<a>``, ``<library>.<table>``."""
        if "." in name:
            library, table = name.split(".", 1)
            return f"libraries/{library}/{table}"
        return f"features/{name}" if name.startswith("feature_") else f"tables/{name}"

    def uri(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{self.folder(name)}"

    def exists(self, name: str) -> bool:
        from deltalake import DeltaTable

        with delta_errors(self.uri(name)):
            return bool(DeltaTable.is_deltatable(self.uri(name), self.storage_options))

    def create(self, name: str, schema: pa.Schema) -> bool:
        """Create an empty table; False when it was there."""
        from deltalake import DeltaTable

        if self.exists(name):
            return False
        if not self.root.startswith("s3://"):
            Path(self.uri(name)).mkdir(parents=True, exist_ok=True)
        with delta_errors(self.uri(name)):
            DeltaTable.create(
                self.uri(name),
                schema=_plain(schema),
                mode="ignore",
                name=name,
                configuration=dict(TABLE_PROPERTIES),
                storage_options=self.storage_options,
            )
        return True

    def add_columns(self, name: str, schema: pa.Schema) -> None:
        """Give a table that was made before the columns of its schema that it lacks; their values are null.

        Several writers may: the columns that another one added meanwhile are there.
        """
        from deltalake import Schema

        def add() -> int:
            table = self.open(name)
            if missing := lacking(table, schema):
                table.alter.add_columns([f for f in Schema.from_arrow(_plain(schema)).fields if f.name in missing])
            return 0

        self.retried(name, add)

    def open(self, name: str, version: int | None = None) -> DeltaTable:
        """The Delta table at its newest (or the given) version; ``NotFound`` names it when there is none.

        Upkeep may delete a file of the log between its listing and its reading: then the log is listed anew.
        """
        from deltalake import DeltaTable

        for attempt in range(OPEN_ATTEMPTS):
            try:
                with delta_errors(self.uri(name)):
                    return DeltaTable(self.uri(name), version=version, storage_options=self.storage_options)
            except StoreError as error:
                if attempt == OPEN_ATTEMPTS - 1 or not _LOG_FILE_GONE.search(str(error.__cause__)):
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def dataset(self, name: str, version: int | None = None) -> ds.Dataset:
        """A pyarrow dataset of one table; a bronze table that does not exist yet reads as empty."""
        return self.dataset_of(name, self.open(name, version))

    def dataset_of(self, name: str, table: DeltaTable) -> ds.Dataset:
        """The dataset of a table that is open, at the version it was opened at."""
        with delta_errors(self.uri(name)):
            return table.to_pyarrow_dataset(filesystem=self.filesystem(name))

    def size_bytes(self, name: str, version: int | None = None) -> int:
        """Bytes of a table's data files, by its log: none is opened."""
        return sum(self.files(name, version))

    def filesystem(self, name: str) -> Any:
        """Arrow's own filesystem at a table."""
        return filesystem_at(self.uri(name), self.storage_options)

    def append(self, name: str, rows: pa.Table, *, txn: tuple[str, int] | None = None) -> int:
        """Append rows in one commit and return the table's version; nothing is written for no rows.

        A bronze table that was made before some of its columns gets them first, so that an older lake goes on.

        Every so many commits the smallest files are merged, so that a table that is appended to every few minutes stays
        quick to open without anyone's upkeep. ``txn`` is (application id, version): a version already committed is not
        written again.
        """
        from deltalake import CommitProperties, PostCommitHookProperties, Transaction, write_deltalake

        table = self.open(name)
        if rows.num_rows == 0:
            return int(table.version())
        if txn is not None and (table.transaction_version(txn[0]) or -1) >= txn[1]:
            return int(table.version())
        if name in BRONZE and lacking(table, rows.schema):
            self.add_columns(name, BRONZE[name])
            table = self.open(name)

        def write(mark: Transaction) -> None:
            write_deltalake(
                table,
                rows,
                mode="append",
                writer_properties=_writer_properties(),
                commit_properties=CommitProperties(
                    max_commit_retries=COMMIT_RETRIES,
                    app_transactions=[mark, Transaction(*txn)] if txn else [mark],
                ),
                # Looking for old entries lists the whole log: upkeep does, and a table's own setting says so too.
                post_commithook_properties=PostCommitHookProperties(cleanup_expired_logs=False),
            )

        if known_again(self.uri(name), lambda: self.open(name), write):
            table = self.open(name)
        version = int(table.version())
        if version % MERGE_EVERY_COMMITS == 0:
            with contextlib.suppress(CommitConflict):  # someone else is at these files: the next time will do
                self._merge_once(name, target_bytes=SMALL_FILE_BYTES)
        return version

    def commit(self, name: str, table: DeltaTable, actions: Sequence[Any], facts: Mapping[str, Any]) -> None:
        """Commit files written and files taken away, as changes of the version that ``table`` was opened at.

        Whether the files are still there is looked at here: delta-rs lets a commit that takes files away pass over a
        merge that took the same ones, and the rows are there twice (deltalake 1.6.6).

        Raises:
            CommitConflict: another commit took one of those files away.
        """
        commit_files(self.uri(name), lambda: self.open(name), table, actions, facts)

    def retried(self, name: str, write: Callable[[], int]) -> int:
        """A write that reads the table first, again and again while other writers are first."""
        for attempt in range(CONFLICT_ATTEMPTS):
            try:
                with delta_errors(self.uri(name)):
                    return write()
            except CommitConflict:
                if attempt == CONFLICT_ATTEMPTS - 1:
                    raise
                time.sleep(random.uniform(0.5, 1.5) * min(5.0, 0.05 * 2**attempt))  # noqa: S311
        raise AssertionError("unreachable: the last attempt returns or raises")

    def add_files(self, name: str, schema: pa.Schema, files: Sequence[DataFile]) -> None:
        """Commit Parquet files that executors wrote below the table's folder, all in one commit."""
        from deltalake import CommitProperties
        from deltalake.transaction import AddAction, RemoveAction

        if not files:
            return
        actions: list[AddAction | RemoveAction] = [
            AddAction(f.path, f.size_bytes, {}, f.modified_at_ms, True, json.dumps({"numRecords": f.rows}))
            for f in files
        ]
        known_again(
            self.uri(name),
            lambda: self.open(name),
            lambda mark: self.open(name).create_write_transaction(
                actions,
                mode="append",
                schema=_plain(schema),
                commit_properties=CommitProperties(max_commit_retries=COMMIT_RETRIES, app_transactions=[mark]),
            ),
        )

    def files(self, name: str, version: int | None = None) -> list[int]:
        """Sizes of a table's data files, by its log."""
        with delta_errors(self.uri(name)):
            sizes = self.open(name, version).get_add_actions(flatten=True)["size_bytes"].to_pylist()
        return [int(size) for size in sizes]

    def merge_files(self, name: str) -> None:
        """Merge small files. Rows stay as they are."""
        self.retried(name, lambda: self._merge_once(name))

    def _merge_once(self, name: str, target_bytes: int = MERGED_FILE_BYTES) -> int:
        with delta_errors(self.uri(name)):
            self.open(name).optimize.compact(target_size=target_bytes, writer_properties=_writer_properties())
        return 0

    def names(self) -> list[str]:
        """Names of all tables that exist: bronze, features and library tables."""
        found = [name for name in BRONZE if self.exists(name)]
        found += sorted(name for name in self._features() if self.exists(name))
        return found + sorted(self._library_tables())

    def _features(self) -> list[str]:
        """Feature tables by their folders: those of analyses of a user's own are in no registry."""
        from pyarrow import fs

        inside = filesystem_at(f"{self.root.rstrip('/')}/features", self.storage_options)
        with delta_errors(self.uri("features")):
            found = inside.get_file_info(fs.FileSelector("", allow_not_found=True))
        names = (info.base_name for info in found if info.type == fs.FileType.Directory)
        return [name for name in names if name.startswith("feature_")]

    def _library_tables(self) -> set[str]:
        if not self.exists("library_versions"):
            return set()
        rows = self.dataset("library_versions").to_table(columns=["library", "table"]).to_pylist()
        return {f"{row['library']}.{row['table']}" for row in rows}


def rows_table(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as an Arrow table of one schema; absent columns are null."""
    return pa.Table.from_pylist(list(rows), schema=schema)


def _writer_properties() -> WriterProperties:
    # Level 1 is quicker than 9 on rows of ids and places, and its files are no larger (tables of 12,000 recordings).
    from deltalake import WriterProperties

    return WriterProperties(compression="ZSTD", compression_level=1, max_row_group_size=ROW_GROUP_ROWS)


def other_types(table: DeltaTable, schema: pa.Schema) -> dict[str, tuple[str, str]]:
    """Columns whose type in an open table is not that of the schema: what it is there, and in the schema."""
    from deltalake import Schema

    there = {field.name: field.type for field in table.schema().fields}
    wanted = {field.name: field.type for field in Schema.from_arrow(_plain(schema)).fields}
    return {
        column: (_type_name(there[column]), _type_name(kind))
        for column, kind in wanted.items()
        if column in there and there[column] != kind
    }


def lacking(table: DeltaTable, schema: pa.Schema) -> set[str]:
    """Columns of a schema that an open table has not."""
    return set(schema.names) - {field.name for field in table.schema().fields}


def _type_name(kind: Any) -> str:
    """A Delta type in words: of simple ones the name, of others what they are."""
    return str(getattr(kind, "type", kind))


def _plain(schema: pa.Schema) -> pa.Schema:
    return schema.remove_metadata()
