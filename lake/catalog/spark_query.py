"""Queries on Spark: everything the embedded engine is too small for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from lake.errors import UsageError
from lake.library.catalog import published_tables
from lake.tables import Tables

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def register_views(spark: SparkSession, tables: Tables) -> None:
    """Temporary views of the tables by name; a library's tables, as published, as ``<library>.<table>``."""
    for name in tables.names():
        if "." not in name:
            spark.read.format("delta").load(spark_uri(tables.uri(name))).createOrReplaceTempView(name)
    for name, version in published_tables(tables).items():
        # Temporary views have no schema: the library's name becomes a database with a view in it.
        library, table = name.split(".", 1)
        spark.sql(f"CREATE DATABASE IF NOT EXISTS `{library}`")
        location = spark_uri(tables.uri(name)).replace("`", "``")
        query = f"SELECT * FROM delta.`{location}` VERSION AS OF {version}"  # noqa: S608  (names of our own)
        spark.sql(f"CREATE OR REPLACE VIEW `{library}`.`{table}` AS {query}")


def spark_uri(uri: str) -> str:
    """``s3://`` as Hadoop's S3A names it."""
    return "s3a://" + uri.removeprefix("s3://") if uri.startswith("s3://") else uri


def spark_sql(spark: SparkSession, tables: Tables, query: str) -> pa.Table:
    """Rows of one SELECT. Runs on the driver; ``UsageError`` carries the first line of what Spark said."""
    from pyspark.errors import AnalysisException, ParseException

    first = query.lstrip(" (\n\t").split(None, 1)[0].upper() if query.strip() else ""
    if first not in {"SELECT", "WITH", "VALUES", "DESCRIBE", "SHOW", "EXPLAIN"}:
        raise UsageError("sql takes one SELECT: the lake's tables are written by its verbs only")
    register_views(spark, tables)
    try:
        return spark.sql(query).toArrow()
    except (AnalysisException, ParseException) as error:
        raise UsageError(f"Spark: {str(error).strip().splitlines()[0]}") from error
