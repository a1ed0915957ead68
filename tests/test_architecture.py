"""The rules of the layout (DESIGN §8), checked in the source: each rule also finds a fault in a made-up file."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("connectors", "lake", "jobs")
MAX_LINES = 400

SPARK = {"pyspark", "delta", "py4j"}
MAY_USE_SPARK = (
    "lake/session.py",
    "lake/remote.py",
    "lake/engine/attach.py",
    "lake/engine/server.py",
    "lake/engine/spark.py",
    "lake/catalog/",
    "lake/cluster/facts.py",
    "lake/cluster/survey.py",
    "lake/jvm/",
    "lake/library/build.py",
    "lake/library/compare.py",
    "lake/library/inputs.py",
    "lake/library/quality.py",
    "lake/library/spark_errors.py",
    "jobs/",
)
"""DESIGN §8, with the modules that ``library/build`` was divided into, the engine, and the JARs beside pyspark's."""
CONNECTORS_MAY_USE = {"lake.model", "lake.errors"}
SPARK_FREE = ("lake/media/", "lake/models/", "lake/analysis/", "lake/store/", "lake/ingest/", "connectors/")
VAGUE = {"utils", "util", "helpers", "common", "misc"}


@dataclass(frozen=True)
class Source:
    """One file of the project, or a made-up one."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def imports(self) -> set[str]:
        """Full names of all modules that are imported anywhere in the file, also for types only."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        return found

    def roots(self) -> set[str]:
        return {name.partition(".")[0] for name in self.imports}


@cache
def sources() -> tuple[Source, ...]:
    """All files of the packages, parsed once."""
    paths = [path for folder in PACKAGES for path in sorted((ROOT / folder).rglob("*.py"))]
    return tuple(Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in paths)


def spark_where_it_may_not_be(source: Source) -> bool:
    return bool(source.roots() & SPARK) and not source.path.startswith(MAY_USE_SPARK)


def spark_session_in_pure_code(source: Source) -> bool:
    """Media, analyses, store and ingest do not even import what would import Spark for them."""
    return source.path.startswith(SPARK_FREE) and bool(source.imports & {"lake.session", "lake.engine.spark"})


def connector_that_knows_the_lake(source: Source) -> bool:
    used = {name for name in source.imports if name.partition(".")[0] == "lake"}
    allowed = {name for name in used if name in CONNECTORS_MAY_USE or name.rpartition(".")[0] in CONNECTORS_MAY_USE}
    return source.path.startswith("connectors/") and bool(used - allowed)


def import_of_jobs(source: Source) -> bool:
    return not source.path.startswith(("jobs/", "tests/")) and "jobs" in source.roots()


def session_taken_from_nowhere(source: Source) -> bool:
    return source.path != "lake/session.py" and any(
        isinstance(node, ast.Attribute) and node.attr in {"getOrCreate", "getActiveSession"}
        for node in ast.walk(source.tree)
    )


def vague_name(source: Source) -> bool:
    return bool(VAGUE & set(Path(source.path).with_suffix("").parts))


def too_long(source: Source) -> bool:
    return len(source.text.splitlines()) > MAX_LINES


def hidden_state(source: Source) -> bool:
    return any(isinstance(node, ast.Global) for node in ast.walk(source.tree))


def heavy_at_the_top(source: Source) -> bool:
    """Verbs import nothing heavy before they are called: ``lake --help`` loads all of them."""
    light = {"lake.errors", "lake.memory"}
    names: set[str] = set()
    for node in source.tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    heavy = {n for n in names if n.partition(".")[0] in {"lake", "connectors", "pyarrow", "duckdb", "rich", "pyspark"}}
    return source.path.startswith("jobs/") and source.path != "jobs/context.py" and bool(heavy - light)


def without_docstring(source: Source) -> bool:
    """Modules, and public functions and classes at their top, say what they are in a first sentence."""
    if not source.text.strip() or source.path.endswith("__main__.py"):
        return False
    public = [
        node
        for node in source.tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    ]
    # What a line of code says as well as a sentence could: bodies of one or two statements.
    said = [node for node in public if isinstance(node, ast.FunctionDef) and len(node.body) > 2 and node.name != "main"]
    return ast.get_docstring(source.tree) is None or any(ast.get_docstring(node) is None for node in said)


RULES: dict[Callable[[Source], bool], tuple[str, str]] = {
    spark_where_it_may_not_be: (
        "lake/tables.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pyspark.sql import DataFrame",
    ),
    spark_session_in_pure_code: ("lake/media/x.py", "def f():\n    from lake.session import build_session"),
    connector_that_knows_the_lake: ("connectors/x.py", "from lake.errors import LakeError\nfrom lake import tables"),
    import_of_jobs: ("lake/x.py", "def f():\n    from jobs.context import Job"),
    session_taken_from_nowhere: ("jobs/x.py", "spark = SparkSession.builder.getOrCreate()"),
    vague_name: ("lake/store/utils.py", ""),
    too_long: ("lake/x.py", "x = 1\n" * (MAX_LINES + 1)),
    hidden_state: ("lake/x.py", "def f():\n    global x\n    x = 1"),
    heavy_at_the_top: ("jobs/x.py", "import click\nfrom lake.tables import Tables"),
    without_docstring: ("lake/x.py", '"""X."""\ndef f(a):\n    b = a\n    c = b\n    return c'),
}
"""Each rule with a file that breaks it."""


@pytest.mark.parametrize("breaks", RULES, ids=lambda rule: rule.__name__)
def test_rule_holds(breaks: Callable[[Source], bool]) -> None:
    assert [source.path for source in sources() if breaks(source)] == []


@pytest.mark.parametrize("breaks", RULES, ids=lambda rule: rule.__name__)
def test_rule_can_fail(breaks: Callable[[Source], bool]) -> None:
    path, text = RULES[breaks]
    assert breaks(Source(path, text))
    assert not breaks(Source("lake/x.py", '"""Fine."""\n'))


def test_the_rules_look_at_the_whole_project() -> None:
    paths = {source.path for source in sources()}
    assert {"lake/session.py", "jobs/cli.py", "connectors/folder.py"} <= paths
    assert len(paths) > 100


def test_where_spark_is_allowed_it_is_needed() -> None:
    """A permission that nobody uses any more is taken back."""
    users = [source.path for source in sources() if source.roots() & SPARK]
    assert [place for place in MAY_USE_SPARK if not any(path.startswith(place) for path in users)] == []
