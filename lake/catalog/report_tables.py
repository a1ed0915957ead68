"""What the report reads: one look at the lake's own tables, so that all of a page is of the same moment."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any

import pyarrow.dataset as ds

from lake.catalog.query import VIEWS, connect
from lake.errors import StoreError
from lake.model import Row
from lake.schema import BRONZE
from lake.tables import Tables

MAX_FILES = 16
"""Data files of a feature table that thumbnails are taken from: a page shows dozens, the table may hold millions."""


@dataclass(frozen=True)
class _Own(Tables):
    """The lake's own tables, without those of libraries; ``sampled``: a few data files, evenly spread, of features."""

    sampled: bool = False

    def names(self) -> list[str]:
        return [name for name in (*BRONZE, *sorted(self._features())) if self.exists(name)]

    def dataset(self, name: str, version: int | None = None) -> ds.Dataset:
        whole = super().dataset(name, version)
        if not self.sampled or not name.startswith("feature_") or not isinstance(whole, ds.FileSystemDataset):
            return whole
        files = list(whole.get_fragments())
        if len(files) <= MAX_FILES:
            return whole
        chosen = [files[i * len(files) // MAX_FILES] for i in range(MAX_FILES)]
        return ds.FileSystemDataset(chosen, whole.schema, whole.format)


class Snapshot:
    """One connection to the tables as they are now. A context manager."""

    def __init__(self, tables: Tables, *, sampled: bool = False) -> None:
        self._tables = _Own(tables.root, tables.storage_options, sampled)
        self.names = frozenset(self._tables.names())
        # A connection holds the tables that its query names.
        self._connection = connect(self._tables, f"SELECT '{' '.join([*sorted(self.names), *VIEWS])}'")

    def rows(self, query: str, **parameters: Any) -> list[Row]:
        """Rows of one SELECT; keep them few."""
        import duckdb

        try:
            rows: list[Row] = self._connection.sql(query, params=parameters).to_arrow_table().to_pylist()
        except duckdb.Error as error:
            said = " ".join(str(error).strip().splitlines()[:1])
            raise StoreError(f"tables below {self._tables.root} cannot be read: {said}; try `lake doctor`") from error
        return rows

    def count(self, what: str) -> int:
        """Rows of ``what``: a table with its WHERE."""
        return int(self.rows(f"SELECT count(*) AS n FROM {what}")[0]["n"])  # noqa: S608

    def dataset(self, name: str) -> ds.Dataset:
        return self._tables.dataset(name)

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()
