"""Queries on Spark: everything the embedded engine is too small for. A query may read the lake's tables and no more."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lake.catalog.query import VIEWS, mentioned_tables, nearest_table
from lake.errors import LakeError, NotFound, UsageError
from lake.library.catalog import published_tables
from lake.remote import separate_session
from lake.tables import Tables

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ONE_SELECT = "it takes one SELECT: the lake's tables are written by its verbs only"

PINNED_CATALOG = "org.perceptionlake.PinnedCatalog"
QUERY_ONLY = "spark.perceptionlake.queryOnly"
"""The setting by which a session takes queries only, and the names that its refusals begin with: ``QueryOnly.java``."""
REFUSED = "perceptionlake refuses "

VIEWS_ON_SPARK = {
    "arrival_state": (
        "SELECT * EXCEPT (__newest) FROM (SELECT *, row_number() OVER (PARTITION BY arrival_id"
        " ORDER BY seen_at_utc DESC, run_id DESC) AS __newest FROM arrivals) WHERE __newest = 1"
    ),
    "quarantine_open": (
        "SELECT * EXCEPT (__newest) FROM (SELECT *, row_number() OVER (PARTITION BY coalesce(arrival_id, sha256),"
        " stage, analysis, analysis_version, params_hash, model_hash ORDER BY attempt DESC) AS __newest"
        " FROM quarantine) WHERE __newest = 1 AND error_class IS NOT NULL"
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
            _register(session, tables, query, named)
            take_queries_only(session, [name for name in named if "." in name])
            frame = session.sql(query)
            return (frame if limit is None else frame.limit(limit)).toArrow()
    except PySparkException as error:
        if type(error).__name__ == "SparkConnectGrpcException":  # of the connection, not of the query
            raise LakeError(f"sql: Spark: {_one_line(error)}") from error
        raise UsageError(f"sql: {_explained(tables, error)}") from error
    except Py4JJavaError as error:
        raise LakeError(f"sql: Spark: {_one_line(error)}") from error


def spark_table(spark: SparkSession, tables: Tables, name: str) -> DataFrame:
    """A table as Spark reads it; ``<library>.<table>`` at its published version. Runs on the driver.

    Raises ``NotFound``, naming the nearest table there is.
    """
    versions = published_tables(tables) if "." in name else {}
    if name not in versions and ("." in name or not tables.exists(name)):
        raise NotFound(nearest_table(tables, name))
    reader = spark.read.format("delta")
    if name in versions:
        reader = reader.option("versionAsOf", versions[name])
    return reader.load(spark_uri(tables.uri(name)))


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
    for view, (table, _) in VIEWS.items():
        if table in named:
            session.sql(VIEWS_ON_SPARK[view]).createOrReplaceTempView(view)


def _spellings(library: str, query: str) -> set[str]:
    """A library's name as the query writes it: Spark tells upper from lower case in the names of catalogs alone."""
    return {library, *re.findall(rf"\b{library}\b", query, re.I)}


def take_queries_only(session: SparkSession, published: list[str]) -> None:
    """From now on the session's parser takes queries over named tables alone. Raise ``LakeError`` if it does not."""
    from pyspark.errors import IllegalArgumentException

    session.conf.set(QUERY_ONLY, ",".join(published))
    try:
        session.sql("SET spark.app.name")
    except IllegalArgumentException as error:
        if REFUSED in str(error):
            return
    raise LakeError("sql: this Spark runs anything: its spark.sql.extensions lack org.perceptionlake.QueryOnly")


def _explained(tables: Tables, error: Any) -> str:
    _, refused, said = str(error).partition(REFUSED)
    if refused:
        return _refusal(tables, *said.splitlines()[0].split(": ", 1))
    if error.getCondition() == "TABLE_OR_VIEW_NOT_FOUND":
        return nearest_table(tables, error.getMessageParameters()["relationName"].replace("`", ""))
    return f"Spark: {_one_line(error)}"


def _refusal(tables: Tables, kind: str, name: str) -> str:
    """In words: what the parser refused."""
    if kind == "table":
        return nearest_table(tables, name)
    if kind == "table function":
        return f"the table function {name!r} is not allowed: name a table"
    if kind == "function":
        return f"the function {name!r} is not allowed: it calls Java"
    if kind == "identifier":
        return "IDENTIFIER takes a name, not an expression"
    return ONE_SELECT + (", and the newest version" if name == "RelationTimeTravel" else "")


def _one_line(error: Any) -> str:
    """What Spark said, less the place in the query and the plan."""
    java = getattr(error, "java_exception", None)
    said = str(java.getMessage() if java is not None else error).split("\n== SQL")[0].split(";\n")[0]
    return " ".join(said.split())[:400]
