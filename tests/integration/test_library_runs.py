"""``lake library`` as it is run: killed for real, twice at once, on MinIO, and without a JVM where none is needed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier, local
from typing import TYPE_CHECKING, Any

import pytest

from lake.catalog.query import local_sql
from lake.catalog.spark_query import spark_sql
from lake.engine import Engine
from lake.errors import CommitConflict
from lake.library.build import build
from lake.library.catalog import library_table, newest_rows
from lake.library.spec import Theme, load_themes
from lake.tables import Tables
from tests.support.lakes import Lake, new_lake
from tests.support.library_rows import add_assets, asset, theme
from tests.support.minio import MinioServer

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.timeout(400)

ROOT = Path(__file__).parents[2]
TABLES = """
  lengths:
    key: [asset_id]
    description: One row a recording.
    sql: SELECT asset_id, sha256, duration_s FROM assets
    quality:
      - {name: positive, check: duration_s > 0}
      - {name: many, min_rows: 9, severity: warn}
  ids:
    key: [asset_id]
    sql: SELECT asset_id, sha256 FROM lengths
"""


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """The shipped configuration with one small library more."""
    folder = tmp_path / "conf"
    shutil.copytree(ROOT / "conf", folder)
    theme(folder / "themes", TABLES)
    return folder


def small(conf: Path) -> Theme:
    return load_themes(conf / "themes")["small"]


def environment(conf: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "LAKE_CONF": str(conf), "PYTHONPATH": str(ROOT), **more}


def lake_command(variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "jobs.cli", *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


WITHOUT_JVM = """
import contextlib, io, json, sys
from jobs.cli import main
told = []
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main(arguments)
    told.append(out.getvalue())
assert not {"pyspark", "py4j"} & set(sys.modules), "Spark was imported"
print(json.dumps(told))
"""


def without_jvm(variables: dict[str, str], root: str, *commands: str) -> list[str]:
    """What commands print, all in one process that has not so much as imported Spark."""
    arguments = json.dumps([["--root", root, *command.split()] for command in commands])
    command = [sys.executable, "-P", "-c", WITHOUT_JVM, arguments]
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    told: list[str] = json.loads(ended.stdout)
    return told


def test_what_was_never_built_says_how(local_lake: Lake, conf: Path) -> None:
    root = local_lake.job.settings.root
    shown, told = without_jvm(environment(conf), root, "library show small", "--json library show small")
    unbuilt = json.loads(told)
    assert (unbuilt["version"], unbuilt["quality"], unbuilt["versions"]) == (None, {"rules": []}, [])
    assert unbuilt["tables"]["ids"]["rows"] is None
    assert "run `lake library build small`" in shown
    unknown = lake_command(environment(conf), "--root", root, "library", "show", "smal")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "no library 'smal'" in unknown.stderr


def test_what_is_read_or_unchanged_needs_no_jvm(local_lake: Lake, spark: SparkSession, conf: Path) -> None:
    tables, root = local_lake.job.tables, local_lake.job.settings.root
    add_assets(tables, asset("a"), asset("b"))
    build(lambda: spark, tables, small(conf), "first")
    before = local_lake.versions()
    commands = ["library show small", "library list", "library build small"]
    commands += [f"--json library {verb}" for verb in ("show small", "list", "plan small")]
    shown, listed, again, *documents = without_jvm(environment(conf), root, *commands)
    assert "small 小 Small" in shown
    assert "lengths: 2 rows; key asset_id\n    One row a recording.\n" in shown
    assert "quality  1 of 2 rules hold\n    warn  lengths.many: 7 rows\n" in shown
    assert "{" not in shown
    assert "小 Small" in listed
    assert "small version 1 stands: nothing changed" in again
    show, found, planned = map(json.loads, documents)
    assert (show["name"], show["version"]) == ("small", 1)
    counts = {"rows": 2, "added": 2, "changed": 0, "removed": 0}
    assert all(counts.items() <= table.items() for table in show["tables"].values())
    assert [rule["ok"] for rule in show["quality"]["rules"]] == [True, False]
    versions = {row["name"]: row["version"] for row in found["rows"]}
    assert versions == {"hotline_audio": None, "site_watch": None, "small": 1}
    assert (planned["version"], planned["changed"], planned["published"]) == (1, False, False)
    assert local_lake.versions() == before
    (conf / "themes" / "small.yaml").unlink()
    assert "owner    unknown" in without_jvm(environment(conf), root, "library show small")[0]


def test_the_command_on_minio(
    conf: Path, local_engine: Engine, minio: MinioServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {
        "AWS_ENDPOINT_URL": minio.endpoint_url,
        "AWS_ACCESS_KEY_ID": minio.access_key_id,
        "AWS_SECRET_ACCESS_KEY": minio.secret_access_key,
    }
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    root = f"s3://{bucket}/city"
    lake = new_lake(root, local_engine)
    add_assets(lake.job.tables, asset("a"), asset("b"))
    variables = environment(conf, **keys)
    built = lake_command(variables, "--root", root, "library", "build", "small")
    assert built.returncode == 0, built.stderr
    assert "small version 1 published" in built.stdout
    assert "2 rows: 2 added, 0 changed, 0 removed" in built.stdout
    assert library_table(lake.job.tables, "small", "ids").column("asset_id").to_pylist() == ["a", "b"]
    assert "stands: nothing changed" in without_jvm(variables, root, "library build small")[0]
    add_assets(lake.job.tables, asset("bad", duration_s=0.0))
    refused = lake_command(variables, "--root", root, "library", "build", "small")
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "lengths.positive (1 rows); version 1 stays" in refused.stderr
    assert [run["exit_status"] for run in lake.rows("runs") if run["state"] == "failed"] == [4]


def log(*parts: str) -> Callable[[Path], bool]:
    """Whether a file matches below the root: what a build has got to."""
    return lambda root: any(root.glob("/".join(parts)))


STEPS = {
    "reading": log("tables", "runs", "_delta_log", "*1.json"),
    # The first build left one; the log's own new file is there too short a time to be seen.
    "writing files": lambda root: len([*root.glob("libraries/small/lengths/**/*.parquet")]) > 1,
    "between tables": log("libraries", "small", "lengths", "_delta_log", "*1.json"),
    "before publication": log("libraries", "small", "ids", "_delta_log", "*1.json"),
    "after publication": log("tables", "library_versions", "_delta_log", "*2.json"),
}


@pytest.mark.parametrize(
    "step",
    [pytest.param(step, marks=() if step == "between tables" else (pytest.mark.full,)) for step in STEPS],
)
def test_kill_9_of_a_build(local_lake: Lake, spark: SparkSession, conf: Path, step: str) -> None:
    """The command and its JVM are killed at a step; readers see one whole version, and the next build ends it."""
    lake, tables, root = local_lake, local_lake.job.tables, Path(local_lake.job.settings.root)
    add_assets(tables, asset("a"))
    build(lambda: spark, tables, small(conf), "first")
    add_assets(tables, asset("b"))
    command = [sys.executable, "-P", "-m", "jobs.cli", "--root", str(root), "library", "build", "small"]
    process = subprocess.Popen(
        command, env=environment(conf), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 200
        while not STEPS[step](root) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    version = newest_rows(tables, "small")["small"][0]["version"]
    expected = {1: ["a"], 2: ["a", "b"]}[version]
    assert version == 1 or step in ("before publication", "after publication")
    for table in ("lengths", "ids"):
        query = f"SELECT asset_id FROM small.{table} ORDER BY 1"
        for read in (local_sql(tables, query), spark_sql(spark, tables, query), library_table(tables, "small", table)):
            assert read.column("asset_id").to_pylist() == expected
    build(lambda: spark, tables, small(conf), "next")
    assert newest_rows(tables, "small")["small"][0]["version"] == 2
    for table in ("lengths", "ids"):
        assert library_table(tables, "small", table).column("asset_id").to_pylist() == ["a", "b"]
        assert tables.open(f"small.{table}").version() == library_version(lake, table)


def library_version(lake: Lake, table: str) -> int:
    """At which Delta version a table of the library is published."""
    [row] = [r for r in newest_rows(lake.job.tables, "small")["small"] if r["table"] == table]
    return int(row["delta_version"])


@dataclass(frozen=True)
class Racing(Tables):
    """Tables that open ``library_versions`` for the n-th time only together with the other racer."""

    meet: Barrier = field(default_factory=lambda: Barrier(2))
    at: int = 1
    opened: local = field(default_factory=local)

    def open(self, name: str, version: int | None = None) -> DeltaTable:
        table = super().open(name, version)
        if name == "library_versions":
            self.opened.times = getattr(self.opened, "times", 0) + 1
            if self.opened.times == self.at:
                self.meet.wait(timeout=60)
        return table


def race(tables: Tables, wanted: Theme, spark: SparkSession, at: int) -> list[Any]:
    """What two builds at once give: documents or errors."""
    racing = Racing(tables.root, at=at)

    def run(name: str) -> Any:
        try:
            return build(lambda: spark, racing, wanted, name)
        except CommitConflict as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(run, ("one", "two")))


@pytest.mark.parametrize("start", ["first", "next"])
def test_two_builds_that_begin_together(local_lake: Lake, spark: SparkSession, conf: Path, start: str) -> None:
    """Both see the same inputs and write the same tables."""
    tables = local_lake.job.tables
    add_assets(tables, asset("a"))
    if start == "next":
        build(lambda: spark, tables, small(conf), "before")
        add_assets(tables, asset("b"))
    assert_one_won(race(tables, small(conf), spark, at=1), tables, 1 if start == "first" else 2)


def test_two_builds_that_publish_together(local_lake: Lake, spark: SparkSession, conf: Path) -> None:
    """Both have only a record to append, to the same version of the table of versions."""
    tables = local_lake.job.tables
    add_assets(tables, asset("a"))
    build(lambda: spark, tables, small(conf), "before")
    path = theme(conf / "themes", TABLES.replace("min_rows: 9", "min_rows: 1"))
    assert_one_won(race(tables, path, spark, at=2), tables, 2)


def assert_one_won(ended: list[Any], tables: Tables, version: int) -> None:
    lost = [each for each in ended if isinstance(each, CommitConflict)]
    won = [each for each in ended if not isinstance(each, CommitConflict)]
    assert len(lost) == len(won) == 1, ended
    assert (won[0].version, won[0].published) == (version, True)
    text = str(lost[0])
    assert "small" in text
    assert "build again" in text
    assert "\n" not in text
    rows = newest_rows(tables, "small")["small"]
    assert [row["table"] for row in rows] == ["ids", "lengths"]
    assert {row["version"] for row in rows} == {version}
    assert len({row["run_id"] for row in rows}) == 1
