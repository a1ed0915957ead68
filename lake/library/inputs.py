"""What a library's SQL sees: its declared inputs, each at one version, and nothing else. Runs on the driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lake.analysis.base import Analysis
from lake.analysis.registry import ANALYSES
from lake.catalog.spark_query import spark_uri
from lake.errors import NotFound
from lake.library.spec import Theme
from lake.remote import separate_session
from lake.tables import Tables

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_FEATURES = {analysis.table: analysis for analysis in ANALYSES.values()}


def pin_inputs(tables: Tables, theme: Theme) -> dict[str, int | None]:
    """The Delta version at which each input is read; None for a feature table that does not exist yet.

    Raises:
        NotFound: an input is missing that every lake has.
    """
    pinned: dict[str, int | None] = {}
    for name in theme.inputs:
        try:
            pinned[name] = int(tables.open(name).version())
        except NotFound:
            if name not in _FEATURES:
                raise
            pinned[name] = None
    return pinned


@contextmanager
def closed_session(spark: SparkSession) -> Iterator[SparkSession]:
    """A session of its own: no views of others are seen or changed, and no files can be named in SQL."""
    with separate_session(spark) as session:
        session.conf.set("spark.sql.runSQLOnFiles", "false")
        yield session


def register_inputs(session: SparkSession, tables: Tables, pinned: dict[str, int | None]) -> None:
    """Temporary views of the inputs by name; of a feature table the results that count (see ``_current``)."""
    for name, version in pinned.items():
        if version is None:
            frame = _empty(session, _FEATURES[name])
        else:
            frame = read_version(session, tables.uri(name), version)
            frame = _current(frame, _FEATURES[name]) if name in _FEATURES else frame
        frame.createOrReplaceTempView(name)


def read_version(session: SparkSession, uri: str, version: int) -> DataFrame:
    """A Delta table as it was at one version."""
    return session.read.format("delta").option("versionAsOf", version).load(spark_uri(uri))


def _empty(session: SparkSession, analysis: Analysis) -> DataFrame:
    from pyspark.sql.pandas.types import from_arrow_schema

    return session.createDataFrame([], from_arrow_schema(analysis.schema))


def _current(frame: DataFrame, analysis: Analysis) -> DataFrame:
    """One analysis result a content: that of today's version and parameters, else the newest there is.

    Results of older versions and other parameters stay in a feature table. A library that took them all would count
    every recording twice as soon as an analysis was changed and run again.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    today = (F.col("analysis_version") == analysis.version) & (F.col("params_hash") == analysis.params_hash())
    rank = F.struct(F.coalesce(today, F.lit(False)), F.coalesce(F.col("run_id"), F.lit("")))
    best = F.max(rank).over(Window.partitionBy("sha256"))
    ranked = frame.withColumn("__rank", rank).withColumn("__best", best)
    return ranked.where(F.col("__rank") == F.col("__best")).select(*frame.columns)
