"""Queries on Spark: everything the embedded engine is too small for. A query may read the lake's tables and no more."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lake.catalog.query import VIEWS, mentioned_tables, nearest_table
from lake.catalog.spark_plan import require_query
from lake.errors import LakeError, UsageError
from lake.session import separate_session
from lake.tables import Tables

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PINNED_CATALOG = "org.perceptionlake.PinnedCatalog"

VIEWS_ON_SPARK = {
    "arrival_state": (
        "SELECT * EXCEPT (__newest) FROM (SELECT *, row_number() OVER (PARTITION BY arrival_id"
        " ORDER BY seen_at_utc DESC, run_id DESC) AS __newest FROM arrivals) WHERE __newest = 1"
    ),
    "quarantine_open": (
        "SELECT * EXCEPT (__newest) FROM (SELECT *, row_number() OVER (PARTITION BY coalesce(arrival_id, sha256),"
        " stage, analysis, analysis_version, params_hash ORDER BY attempt DESC) AS __newest FROM quarantine)"
        " WHERE __newest = 1 AND error_class IS NOT NULL"
    ),
}
"""The views of ``lake.catalog.query`` in Spark's SQL, which has no ``DISTINCT ON``."""


def spark_sql(spark: SparkSession, tables: Tables, query: str, *, limit: int | None = None) -> pa.Table:
    """Rows of one SELECT, at most ``limit``. Runs on the driver, in a session of its own.

    Raises ``UsageError`` with what Spark said, in one line.
    """
    from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
    from pyspark.errors import PySparkException

    # pyspark logs the place in the query besides raising it.
    logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)
    try:
        with separate_session(spark) as session:
            # Otherwise '${env:AWS_SECRET_ACCESS_KEY}' in a query is replaced by the key.
            session.conf.set("spark.sql.variable.substitute", "false")
            named = mentioned_tables(tables, query)
            session.conf.set("spark.sql.runSQLOnFiles", "false")
            published = [name for name in named if "." in name]
            require_query(session, query, published, lambda name: nearest_table(tables, name))
            _register(session, tables, query, named)
            frame = session.sql(query)
            return (frame if limit is None else frame.limit(limit)).toArrow()
    except PySparkException as error:
        if type(error).__name__ == "SparkConnectGrpcException":  # of the connection, not of the query
            raise LakeError(f"sql: Spark: {_one_line(error)}") from error
        raise UsageError(f"sql: {_explained(tables, error)}") from error
    except Py4JJavaError as error:
        raise LakeError(f"sql: Spark: {_one_line(error)}") from error


def spark_uri(uri: str) -> str:
    """``s3://`` as Hadoop's S3A names it."""
    return "s3a://" + uri.removeprefix("s3://") if uri.startswith("s3://") else uri


def _register(session: SparkSession, tables: Tables, query: str, named: dict[str, int | None]) -> None:
    """Temporary views of tables by name; a library's tables, as published, as ``<library>.<table>``."""
    for name, version in named.items():
        location = spark_uri(tables.uri(name))
        if "." not in name:
            session.read.format("delta").load(location).createOrReplaceTempView(name)
            continue
        # Temporary views have no schema, and a database would be seen by all sessions: so a library is a catalog.
        library, table = name.split(".", 1)
        for spelled in _spellings(library, query):
            catalog = f"spark.sql.catalog.{spelled}"
            session.conf.set(f"{catalog}.table.{table}", location)
            session.conf.set(f"{catalog}.version.{table}", str(version))
            session.conf.set(catalog, PINNED_CATALOG)
    _open_pinned(session, query, [name for name in named if "." in name])
    for view, (table, _) in VIEWS.items():
        if table in named:
            session.sql(VIEWS_ON_SPARK[view]).createOrReplaceTempView(view)


def _spellings(library: str, query: str) -> set[str]:
    """A library's name as the query writes it: Spark tells upper from lower case in the names of catalogs alone."""
    return {library, *re.findall(rf"\b{library}\b", query, re.I)}


def _open_pinned(session: SparkSession, query: str, published: list[str]) -> None:
    """Have the catalogs open their tables while Delta may be told a path; when the query runs, nobody may."""
    session.conf.set("spark.sql.runSQLOnFiles", "true")
    for name in published:
        library, table = name.split(".", 1)
        for spelled in _spellings(library, query):
            _ = session.table(f"`{spelled}`.`{table}`").columns
    session.conf.set("spark.sql.runSQLOnFiles", "false")


def _explained(tables: Tables, error: Any) -> str:
    if error.getCondition() == "TABLE_OR_VIEW_NOT_FOUND":
        return nearest_table(tables, error.getMessageParameters()["relationName"].replace("`", ""))
    return f"Spark: {_one_line(error)}"


def _one_line(error: Any) -> str:
    """What Spark said, less the place in the query and the plan."""
    java = getattr(error, "java_exception", None)
    said = str(java.getMessage() if java is not None else error).split("\n== SQL")[0].split(";\n")[0]
    return " ".join(said.split())[:400]
