"""Queries on Spark: everything the embedded engine is too small for. A query may read the lake's tables and no more."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lake.catalog.query import VIEWS, mentioned_tables, nearest_table
from lake.errors import LakeError, UsageError
from lake.tables import Tables

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ONE_SELECT = "sql takes one SELECT: the lake's tables are written by its verbs only"

PLAN_NODES = frozenset(
    {"Aggregate", "Distinct", "Except", "Filter", "Generate", "GlobalLimit", "Intersect", "Join"}
    | {"LateralJoin", "LocalLimit", "LocalRelation", "Offset", "OneRowRelation", "Pivot", "Project", "Sample"}
    | {"Sort", "SubqueryAlias", "Union", "UnresolvedHaving", "UnresolvedInlineTable", "UnresolvedRelation"}
    | {"UnresolvedSubqueryColumnAliases", "UnresolvedTableValuedFunction", "UnresolvedWith", "Unpivot"}
    | {"UnpivotTransformer", "Window", "WithWindowDefinition"}
)
"""What a query's plan may be made of before Spark resolves it. Anything else writes, runs programs (``TRANSFORM``),
reads another version than the published one, or is new to us."""
TABLE_FUNCTIONS = frozenset(
    {"explode", "explode_outer", "inline", "inline_outer", "json_tuple", "posexplode", "posexplode_outer"}
    | {"range", "stack"}
)
REFLECTION = frozenset({"java_method", "reflect", "try_reflect"})
"""Functions that call any static method of Java: ``System.getenv`` for one."""

SUBQUERY = "org.apache.spark.sql.catalyst.expressions.PlanExpression"

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
    session = spark.newSession()
    # Otherwise '${env:AWS_SECRET_ACCESS_KEY}' in a query is replaced by the key.
    session.conf.set("spark.sql.variable.substitute", "false")
    try:
        named = mentioned_tables(tables, query)
        _refuse_all_but_queries(session, tables, query, named)
        _register(session, tables, named)
        frame = session.sql(query)
        return (frame if limit is None else frame.limit(limit)).toArrow()
    except PySparkException as error:
        raise UsageError(f"sql: {_explained(tables, error)}") from error
    except Py4JJavaError as error:
        raise LakeError(f"sql: Spark: {_one_line(error)}") from error


def spark_uri(uri: str) -> str:
    """``s3://`` as Hadoop's S3A names it."""
    return "s3a://" + uri.removeprefix("s3://") if uri.startswith("s3://") else uri


def _register(session: SparkSession, tables: Tables, named: dict[str, int | None]) -> None:
    """Temporary views of tables by name; a library's tables, as published, as ``<library>.<table>``."""
    for name, version in named.items():
        location = spark_uri(tables.uri(name))
        if "." not in name:
            session.read.format("delta").load(location).createOrReplaceTempView(name)
            continue
        # Temporary views have no schema: the library's name becomes a database with a view in it.
        library, table = name.split(".", 1)
        session.sql(f"CREATE DATABASE IF NOT EXISTS `{library}`")
        location = location.replace("`", "``")
        pinned = f"SELECT * FROM delta.`{location}` VERSION AS OF {version}"  # noqa: S608  (names of our own)
        session.sql(f"CREATE OR REPLACE VIEW `{library}`.`{table}` AS {pinned}")
    for view, (table, _) in VIEWS.items():
        if table in named:
            session.sql(VIEWS_ON_SPARK[view]).createOrReplaceTempView(view)


def _refuse_all_but_queries(session: SparkSession, tables: Tables, query: str, named: dict[str, int | None]) -> None:
    """Raise ``UsageError`` unless the parsed query is a SELECT over the lake's tables; nothing was run by then."""
    known = {name.lower() for name in named}
    for node, kind in _nodes(session, session._jsparkSession.sessionState().sqlParser().parsePlan(query)):  # type: ignore[attr-defined]
        if kind == "UnresolvedRelation":
            name = ".".join(_texts(node.multipartIdentifier()))
            if "." in name and name.lower() not in known:
                raise UsageError(f"sql: {nearest_table(tables, name)}")
        elif kind == "UnresolvedTableValuedFunction" and _texts(node.name())[-1].lower() not in TABLE_FUNCTIONS:
            raise UsageError(f"sql: the table function {_texts(node.name())[-1]!r} is not allowed: name a table")
        elif kind == "UnresolvedFunction" and _texts(node.nameParts())[-1].lower() in REFLECTION:
            raise UsageError(f"sql: the function {_texts(node.nameParts())[-1]!r} is not allowed: it calls Java")
        elif kind == "ExpressionWithUnresolvedIdentifier":
            raise UsageError("sql: IDENTIFIER takes a name, not an expression")


def _nodes(session: SparkSession, plan: Any) -> Iterator[tuple[Any, str]]:
    """Every node and expression of a parsed plan with the name of its class, subqueries and CTEs too."""
    from py4j.java_gateway import is_instance_of  # type: ignore[import-untyped]

    gateway = session.sparkContext._gateway  # type: ignore[attr-defined]
    left = [(plan, True)]
    while left:
        node, is_plan = left.pop()
        kind = node.getClass().getSimpleName().rstrip("$")
        if is_plan and kind not in PLAN_NODES:
            raise UsageError(ONE_SELECT if kind != "RelationTimeTravel" else f"{ONE_SELECT}, and the newest version")
        yield node, kind
        left += [(each, is_plan) for each in _each(node.children())]
        if is_plan:
            left += [(each, True) for each in _each(node.innerChildren())]
            left += [(each, False) for each in _each(node.expressions())]
        elif is_instance_of(gateway, node, SUBQUERY):
            left.append((node.plan(), True))


def _each(sequence: Any) -> Iterator[Any]:
    """The elements of a Scala sequence."""
    return (sequence.apply(number) for number in range(sequence.size()))


def _texts(sequence: Any) -> list[str]:
    return [str(each) for each in _each(sequence)]


def _explained(tables: Tables, error: Any) -> str:
    if error.getCondition() == "TABLE_OR_VIEW_NOT_FOUND":
        return nearest_table(tables, error.getMessageParameters()["relationName"].replace("`", ""))
    return f"Spark: {_one_line(error)}"


def _one_line(error: Any) -> str:
    """What Spark said, less the place in the query and the plan."""
    java = getattr(error, "java_exception", None)
    said = str(java.getMessage() if java is not None else error).split("\n== SQL")[0].split(";\n")[0]
    return " ".join(said.split())[:400]
