"""Whether a text is a query over the lake's tables and nothing else, by Spark's own parser. Nothing of it is run.

Spark prints the plan it parsed before it resolves it, and prints no more when it cannot be resolved. So the text is
explained beside a table that does not exist: it is parsed and looked at, never optimised or run. This is plain SQL,
which a server (Spark Connect) answers like a session of our own. What is printed is not all there is (see ``WORDS``),
so files cannot be named in the session that runs the query either (``spark.sql.runSQLOnFiles``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

from lake.errors import UsageError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ONE_SELECT = "it takes one SELECT: the lake's tables are written by its verbs only"

PLAN_NODES = frozenset(
    {"Aggregate", "CTE", "Distinct", "Except", "Filter", "Generate", "GlobalLimit", "Intersect", "Join"}
    | {"LateralJoin", "LocalLimit", "LocalRelation", "Offset", "OneRowRelation", "Pivot", "Project", "Sample"}
    | {"Sort", "SubqueryAlias", "Union", "UnresolvedHaving", "UnresolvedInlineTable", "UnresolvedRelation"}
    | {"UnresolvedSubqueryColumnAliases", "UnresolvedTableValuedFunction", "Unpivot"}
    | {"UnpivotTransformer", "Window", "WithWindowDefinition"}
)
"""What a query's plan may be made of before Spark resolves it. Anything else writes, runs programs (``TRANSFORM``),
reads another version than the published one, or is new to us."""
TABLE_FUNCTIONS = frozenset(
    {"explode", "explode_outer", "inline", "inline_outer", "json_tuple", "posexplode", "posexplode_outer"}
    | {"range", "stack"}
)
REFLECTION = re.compile(r"\b((?:try_)?reflect|java_method)`?\s*\(", re.I)
"""Functions that call any static method of Java: ``System.getenv`` for one."""
COMPUTED_NAME = re.compile(r"WithUnresolvedIdentifier", re.I)

WORDS = {
    r"\b(?:try_)?reflect\b|\bjava_method\b": "it has the name of a function that calls Java: in a text write 're' || …",
    r"\bidentifier\s*(?:\(|/\*|--)": "IDENTIFIER is not taken: write the name",
    r"\|>": "pipes are not taken: write it as a SELECT",
    r"\b(?:transform|map|reduce)\b.*\busing\b(?!\s*\()": "USING a program is not taken",
}
"""What a query may not even mention. Spark leaves some corners out of the plan it prints (the columns that a pipe
sets): what would be dear there is refused by its word, though it stand in a text of the query."""

MOST = 2**31 - 16
NOWHERE = "lake_has_no_such_table"
PARSED, ANALYZED = "== Parsed Logical Plan ==", "== Analyzed Logical Plan =="
NODE = re.compile(r"(?:   |:  )*[+:]- '?([A-Za-z]+)(.*)", re.S)
"""A node stands on a line that begins with the branches of the tree: whatever else begins a line is text of the query
with a line break in it. Such a text can look like a node, and is then refused; a node looks like nothing else."""
RELATION = re.compile(r" \[(.*)\], \[\], false")
TABLE_FUNCTION = re.compile(r" \[([^\]]*)\]")


def require_query(
    session: SparkSession, query: str, tables: Collection[str], unknown: Callable[[str], str] = "no table {!r}".format
) -> None:
    """Raise ``UsageError`` unless a text is one query that names, of what has a dot, only ``tables``.

    Runs on the driver. Variables must not be substituted in the session. ``unknown`` says what is wrong with a name.
    """
    for word, wrong in WORDS.items():
        if re.search(word, query, re.I | re.S):
            raise UsageError(f"sql: {wrong}")
    # By default Spark prints 25 columns of a node and "... more fields": what is not printed cannot be looked at.
    session.conf.set("spark.sql.debug.maxToStringFields", str(MOST))
    session.conf.set("spark.sql.maxPlanStringLength", str(MOST))
    text = query.strip().rstrip("; \n\t")
    explain = f"EXPLAIN EXTENDED SELECT * FROM {NOWHERE}, (\n{text}\n)"  # noqa: S608  (it is what is looked at)
    rows = session.sql(explain).collect()
    if found := refusal(rows[0][0], tables, unknown):
        raise UsageError(f"sql: {found}")


def refusal(
    explained: str, tables: Collection[str], unknown: Callable[[str], str] = "no table {!r}".format
) -> str | None:
    """What a parsed plan, as ``EXPLAIN EXTENDED`` prints it, must not have; None where there is none of it."""
    lines = explained.split("\n")
    if lines.count(PARSED) != 1 or lines.count(ANALYZED) != 1 or lines[0] != PARSED:
        return "the query has a text that looks like a plan of Spark"
    if any(line.startswith("== Optimized") for line in lines):
        return "Spark did more than parse the query"
    lines = lines[1 : lines.index(ANALYZED)]
    plan = "\n".join(lines)
    if found := REFLECTION.search(plan):
        return f"the function {found[1].lower()!r} is not allowed: it calls Java"
    if COMPUTED_NAME.search(plan):
        return "IDENTIFIER takes a name, not an expression"
    return next(filter(None, (_wrong_node(kind, rest, tables, unknown) for kind, rest in _nodes(lines))), None)


def _nodes(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Name and the rest of each node but the root, which is the SELECT around the query."""
    for line in lines[1:]:
        if node := NODE.fullmatch(line):
            yield node[1], node[2]
        elif re.match(r"(?:   |:  )*[+:]- ", line):
            yield "?", line


def _wrong_node(kind: str, rest: str, tables: Collection[str], unknown: Callable[[str], str]) -> str | None:
    if kind not in PLAN_NODES:
        return "only the newest version can be read" if kind == "RelationTimeTravel" else ONE_SELECT
    if kind == "WithWindowDefinition" and "#" in rest:
        return "a subquery in a WINDOW clause is not taken"  # its plan is not printed
    if kind == "UnresolvedRelation":
        name = RELATION.fullmatch(rest)
        parts = name[1].split(", ") if name else []
        if len(parts) != 1 and ".".join(parts).lower() not in {table.lower() for table in tables}:
            return unknown(".".join(parts) or rest.strip())
    if kind == "UnresolvedTableValuedFunction":
        name = TABLE_FUNCTION.match(rest)
        called = name[1].split(", ")[-1] if name else rest
        if called.lower() not in TABLE_FUNCTIONS:
            return f"the table function {called!r} is not allowed: name a table"
    return None
