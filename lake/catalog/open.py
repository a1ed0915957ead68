"""The lake from Python, for reading: in a notebook, in a job, in a service. It starts no JVM."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from lake.catalog.create import require_lake
from lake.catalog.query import local_sql
from lake.catalog.read import open_recording
from lake.settings import Settings, load_settings
from lake.store.alone import at_work
from lake.store.objects import ObjectStore, open_store
from lake.tables import Tables

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class Library:
    """One thematic library at its published version."""

    name: str
    tables: Tables

    def table(self, name: str) -> pa.Table:
        """Rows of one table as Arrow, at the published version."""
        from lake.library.catalog import library_table

        return library_table(self.tables, self.name, name)


@dataclass(frozen=True)
class Lake:
    """One lake: tables as Arrow, queries by SQL, recordings as streams. Pickles: a task of Spark reads by it too."""

    settings: Settings
    tables: Tables
    store: ObjectStore

    def assets(self) -> ds.Dataset:
        """The recordings, as a dataset to filter and scan; nothing is read before that."""
        return self.tables.dataset("assets")

    def table(self, name: str) -> ds.Dataset:
        """Any table by name: ``arrivals``, ``blobs``, ``quarantine``, ``feature_<analysis>`` …"""
        return self.tables.dataset(name)

    def frame(self, spark: SparkSession, name: str) -> DataFrame:
        """Any table for Spark; ``<library>.<table>`` is at its published version."""
        from lake.catalog.spark_query import spark_table

        return spark_table(spark, self.tables, name)

    def sql(self, query: str, parameters: dict[str, Any] | None = None) -> pa.Table:
        """Rows of one SELECT; ``$name`` in the query takes a parameter."""
        return local_sql(self.tables, query, parameters)

    def library(self, name: str) -> Library:
        """A thematic library; ``NotFound`` comes with the first table that is asked for."""
        return Library(name, self.tables)

    def lease(self, purpose: str) -> AbstractContextManager[None]:
        """For reading over hours: while the block runs, ``lake store gc`` leaves what is there, and erasures wait."""
        return at_work(self.store, purpose, lambda: datetime.now(UTC))

    def read(self, recording: str | dict[str, Any]) -> BinaryIO:
        """A verified stream of a recording, named by asset id, sha256, an asset's row or a FILE reference."""
        return open_recording(self.tables, self.store, recording)


def open_lake(root: str | None = None, profile: str | None = None) -> Lake:
    """Open the lake at a root; ``NotFound`` says what to do where there is none."""
    settings = load_settings(root, profile)
    store = open_store(settings.root, settings.s3)
    require_lake(store)
    return Lake(settings, Tables(settings.root, settings.storage_options()), store)
