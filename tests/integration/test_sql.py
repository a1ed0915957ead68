"""SQL on both engines: the same rows, and nothing but the lake's tables can be reached."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyspark.errors import IllegalArgumentException, ParseException

import lake
from jobs.cli import Invocation, cli, json_text
from jobs.sql import choose_engine, print_rows
from lake.catalog.query import VIEWS, local_sql, mentioned_tables
from lake.catalog.spark_query import REFUSED as REFUSES
from lake.catalog.spark_query import VIEWS_ON_SPARK, spark_sql, take_queries_only
from lake.engine import Engine
from lake.errors import LakeError, NotFound, UsageError
from lake.remote import connect, separate_session
from lake.schema import BRONZE
from lake.tables import Tables, rows_table
from tests.integration.conftest import ODD
from tests.support.engines import WarmEngine
from tests.support.hostile_sql import CORNERS, HOSTILE
from tests.support.lakes import Lake, new_lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.timeout(400)

Sql = Callable[[Tables, str], pa.Table]

FEATURES = ("feature_document_text", "feature_keyframes", "feature_loudness", "feature_image_hash")

EVERYTHING = [*BRONZE, *VIEWS, *FEATURES, "site_watch.shots"]

QUERIES = [
    "SELECT media_kind, count(*) AS n, sum(size_bytes) AS b, avg(size_bytes) AS mean FROM assets GROUP BY media_kind",
    "SELECT state, count(*) AS n FROM arrival_state GROUP BY state",
    "SELECT key, count(*) AS n FROM arrivals GROUP BY key HAVING count(*) > 1",
    "SELECT a.path, q.message FROM quarantine_open q JOIN assets a ON a.sha256 = q.sha256 WHERE q.stage = 'ingest'",
    "SELECT path FROM assets WHERE sha256 NOT IN (SELECT sha256 FROM feature_loudness) AND media_kind = 'image'",
    "WITH big AS (SELECT * FROM blobs WHERE size_bytes > 5000), n AS (SELECT count(*) AS n FROM big) SELECT n FROM n",
    "SELECT a.path, b.pack_uri, b.length FROM assets a LEFT JOIN blobs b ON a.sha256 = b.sha256",
    "SELECT path, row_number() OVER (PARTITION BY media_kind ORDER BY path, asset_id) AS nth FROM assets",
    "SELECT media_kind FROM assets UNION SELECT stage FROM run_stages",
    "SELECT file.uri, file.size, file.checksum FROM assets",
    "SELECT max(received_at_utc) AS latest, min(first_seen_at_utc) AS first FROM assets CROSS JOIN blobs",
    "SELECT page, length(text) AS letters FROM feature_document_text WHERE text IS NOT NULL",
    "SELECT path FROM assets ORDER BY path, asset_id LIMIT 5",
    "SELECT 1 AS one, NULL AS nothing, 'x' AS text, CAST(1.5 AS DECIMAL(9, 3)) AS exact, TRUE AS yes",
    "SELECT DISTINCT verb FROM runs WHERE state = 'done'",
    "SELECT s.asset_id, s.start_s FROM site_watch.shots s WHERE s.start_s > 1",
    "SELECT count(*) AS n FROM SITE_WATCH.SHOTS",
]

LISTING = [
    "SHOW TABLES",
    "-- of all\n (show all tables)",
    "describe assets",
    "DESC assets",
    "SELECT name FROM (SHOW TABLES)",
    'SELECT table_name FROM "information_schema".tables',
    "FROM duckdb_views()",
]
"""Which tables there are, and their columns: the embedded engine alone answers."""

REFUSED = [
    "INSERT INTO assets SELECT * FROM assets",
    "WITH x AS (SELECT 1) INSERT INTO assets SELECT * FROM assets",
    "DELETE FROM assets",
    "UPDATE assets SET path = 'x'",
    "DROP TABLE assets",
    "CREATE TABLE x AS SELECT 1 AS a",
    "CREATE VIEW x AS SELECT 1 AS a",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE assets",
    "SET x = 1",
    "SELECT * FROM read_csv('{secret}')",
    "SELECT * FROM read_text('{secret}')",
    "SELECT * FROM nowhere",
    "SELECT * FROM site_watch.nowhere",
    "SELECT * FROM default.assets",
    "SELECT * FROM assets WHERE nothing_like_it = 1",
    "SELEC 1",
    "",
    "-- only a comment",
]

REFUSED_LOCALLY = [
    "COPY assets TO '{secret}.csv'",
    "COPY (SELECT 1) TO '{secret}.csv'",
    "ATTACH '{secret}.db'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SELECT * FROM '{secret}'",
    "SELECT * FROM '{secret}.parquet'",
    "SELECT * FROM read_parquet('{secret}')",
    "SELECT * FROM glob('{secret}*')",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "SELECT getenv('HOME')",
    "EXPORT DATABASE '{secret}'",
]

REFUSED_ON_SPARK = [
    "SELECT * FROM delta.`{root}/tables/assets`",
    "SELECT * FROM parquet.`{secret}`",
    "SELECT * FROM text.`{secret}`",
    "SELECT (SELECT count(*) FROM text.`{secret}`)",
    "WITH y AS (SELECT * FROM csv.`{secret}`) SELECT * FROM y",
    "SELECT * FROM assets WHERE EXISTS (SELECT 1 FROM text.`{secret}`)",
    "SELECT * FROM range(1), LATERAL (SELECT * FROM text.`{secret}`)",
    "SELECT * FROM IDENTIFIER('text.`{secret}`')",
    "SELECT * FROM IDENTIFIER('text.' || '`{secret}`')",
    "SELECT * FROM delta.`{root}/tables/assets` VERSION AS OF 0",
    "SELECT * FROM site_watch.shots VERSION AS OF 0",
    "SELECT * FROM table_changes('assets', 0)",
    "SELECT TRANSFORM (path) USING 'cat' AS (x) FROM assets",
    "WITH x AS (SELECT TRANSFORM (path) USING 'cat' AS (x) FROM assets) SELECT * FROM x",
    "SELECT reflect('java.lang.System', 'getenv', 'HOME')",
    "SELECT upper(java_method('java.lang.System', 'getenv', 'HOME'))",
    "SELECT (SELECT try_reflect('java.lang.System', 'getenv', 'HOME'))",
    f"SELECT {', '.join(map(str, range(40)))}, reflect('java.lang.System', 'getenv', 'HOME')",
    "SELECT IDENTIFIER('reflect')('java.lang.System', 'getenv', 'HOME')",
    "SELECT IDENTIFIER('ref' || 'lect')('java.lang.System', 'getenv', 'HOME')",
    "SELECT * FROM assets LATERAL VIEW explode(array(reflect('java.lang.System', 'getenv', 'HOME'))) t AS x",
    "FROM assets INSERT INTO assets SELECT *",
    "EXECUTE IMMEDIATE 'DROP TABLE assets'",
    "BEGIN SELECT 1; END",
    "INSERT OVERWRITE DIRECTORY '{secret}.d' USING csv SELECT 1",
    "CACHE TABLE x AS SELECT 1",
    "ADD JAR '{secret}'",
    "VACUUM delta.`{root}/tables/assets`",
]


@pytest.fixture(scope="module", params=["own", "warm"])
def session(request: pytest.FixtureRequest) -> Iterator[SparkSession]:
    """A Spark of our own, and a server: the same rows, the same refusals."""
    if request.param == "own":
        yield request.getfixturevalue("spark")
        return
    engine: WarmEngine = request.getfixturevalue("warm_engine")
    with connect(engine.url) as attached:
        yield attached


@pytest.fixture(scope="module")
def on_spark(session: SparkSession) -> Sql:
    return lambda tables, query: spark_sql(session, tables, query)


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("outside") / "secret"
    path.write_text("nobody may read this\n")
    return path


def plain(rows: pa.Table) -> list[str]:
    """Rows in a form that compares: as the command prints them, in any order."""
    return sorted(json_text(row) for row in rows.to_pylist())


@pytest.mark.parametrize("table", EVERYTHING)
def test_every_table_is_equal_on_both(filled: Lake, on_spark: Sql, table: str) -> None:
    tables = filled.job.tables
    local = local_sql(tables, f"SELECT * FROM {table}")
    spark = on_spark(tables, f"SELECT * FROM {table}")
    assert local.num_rows > 0
    assert local.column_names == spark.column_names
    assert plain(local) == plain(spark)


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_is_equal_on_both(filled: Lake, on_spark: Sql, query: str) -> None:
    tables = filled.job.tables
    local = local_sql(tables, query)
    assert local.num_rows > 0
    assert plain(local) == plain(on_spark(tables, query))


def test_views_show_the_last_state(filled: Lake, on_spark: Sql, tmp_path: Path, local_engine: Engine) -> None:
    """Of tables that are only appended to: a failure that was mended is gone, an arrival is what its last row says."""
    assert set(VIEWS) == set(VIEWS_ON_SPARK)
    tables = new_lake(str(tmp_path / "lake"), local_engine).job.tables
    failures = filled.rows("quarantine")
    mended = {**failures[0], "attempt": 2, "error_class": None, "message": None}
    tables.append("quarantine", rows_table([mended, *failures], BRONZE["quarantine"]))
    arrivals = filled.rows("arrivals")
    older = {**arrivals[0], "state": "pending"}
    older["seen_at_utc"] = older["seen_at_utc"].replace(year=2020)
    tables.append("arrivals", rows_table([*arrivals, older], BRONZE["arrivals"]))
    for sql in (local_sql, on_spark):
        left = sql(tables, "SELECT arrival_id FROM quarantine_open").column(0).to_pylist()
        assert sorted(left) == sorted(row["arrival_id"] for row in failures[1:])
        states = sql(tables, "SELECT arrival_id, state FROM arrival_state").to_pylist()
        assert sorted(row["arrival_id"] for row in states) == sorted({row["arrival_id"] for row in arrivals})
        assert "pending" not in {row["state"] for row in states}


def test_a_library_is_read_as_published(filled: Lake, on_spark: Sql) -> None:
    tables = filled.job.tables
    assert tables.dataset("site_watch.shots").count_rows() == 4, "rows came after the publication"
    for sql in (local_sql, on_spark):
        assert sql(tables, "SELECT count(*) AS n FROM site_watch.shots").to_pylist() == [{"n": 2}]


def test_a_table_is_a_frame_of_spark(filled: Lake, session: SparkSession) -> None:
    """As a script of a user's takes it: a library's as published, and a name that is none says which is meant."""
    opened = lake.open(filled.job.settings.root)
    assert opened.frame(session, "assets").count() == len(filled.rows("assets"))
    assert opened.frame(session, "site_watch.shots").orderBy("asset_id").toArrow().to_pylist() == [
        {"asset_id": "a", "start_s": 0.0},
        {"asset_id": "b", "start_s": 1.5},
    ]
    for name, meant in (("aset", "assets"), ("site_watch.shot", "site_watch.shots")):
        with pytest.raises(NotFound, match=f"no table '{name}': did you mean '{meant}'"):
            opened.frame(session, name)


def test_odd_names_and_all_types(filled: Lake, on_spark: Sql) -> None:
    """What was written comes back from both engines, under names that need quoting."""
    tables = filled.job.tables
    local = local_sql(tables, 'SELECT "select", "Größe", "at", raw, said, many, level, ok FROM "Order"."group"')
    spark = on_spark(tables, "SELECT `select`, `Größe`, at, raw, said, many, level, ok FROM `Order`.`group`")
    assert plain(local) == plain(spark) == plain(ODD)
    # The engines name the elements of a list differently.
    kinds = [[str(f.type).replace("<element: ", "<l: ") for f in rows.schema] for rows in (local, spark)]
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("query", REFUSED)
def test_hostile_sql_is_refused_by_both(filled: Lake, on_spark: Sql, secret: Path, query: str) -> None:
    for sql in (local_sql, on_spark):
        refused(sql, filled, query, secret)


@pytest.mark.parametrize("query", REFUSED_LOCALLY)
def test_hostile_sql_is_refused_by_duckdb(filled: Lake, secret: Path, query: str) -> None:
    refused(local_sql, filled, query, secret)


def test_variables_of_python_are_no_tables(filled: Lake) -> None:
    """DuckDB looks for unknown names among the variables of who calls it."""
    for name in ("parameters", "connection", "pa"):
        with pytest.raises(UsageError, match=f"no table '{name}'"):
            local_sql(filled.job.tables, f"SELECT * FROM {name}", {})


@pytest.mark.parametrize("query", REFUSED_ON_SPARK)
def test_hostile_sql_is_refused_by_spark(filled: Lake, on_spark: Sql, secret: Path, query: str) -> None:
    refused(on_spark, filled, query, secret)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_nothing_hides_in_a_corner_of_a_query(session: SparkSession, secret: Path, hostile: str) -> None:
    """By the parser, before a name is looked up: what is no SQL at all in a corner is refused by Spark's own."""
    with separate_session(session) as taken:
        take_queries_only(taken, ["site_watch.shots"])
        refused_in = 0
        for corner in CORNERS:
            query = corner.replace("{it}", hostile.replace("{secret}", str(secret)))
            with pytest.raises((IllegalArgumentException, ParseException)) as said:
                taken.sql(query)
            refused_in += REFUSES in str(said.value)
        assert refused_in > len(CORNERS) / 2


def test_a_query_is_not_run_where_no_parser_refuses_anything(
    session: SparkSession, monkeypatch: pytest.MonkeyPatch, filled: Lake
) -> None:
    monkeypatch.setattr("lake.catalog.spark_query.QUERY_ONLY", "spark.perceptionlake.nobodyLooks")
    with pytest.raises(LakeError, match=r"lack org\.perceptionlake\.QueryOnly"):
        spark_sql(session, filled.job.tables, "SELECT 1")


def test_what_looks_hostile_and_is_not_is_answered(filled: Lake, on_spark: Sql) -> None:
    for query in (
        "SELECT transform(array(1, 2), x -> x + 1) AS a FROM assets JOIN blobs USING (sha256)",
        "SELECT sum(size_bytes) OVER w AS a FROM assets WINDOW w AS (PARTITION BY media_kind)",
        "SELECT path FROM assets WHERE path LIKE 'reflection\\n%' OR path != 'using it'",
        "SELECT s.* FROM site_watch.shots s, SITE_WATCH.shots t WHERE s.asset_id = t.asset_id",
    ):
        assert on_spark(filled.job.tables, query).num_rows > 0


def refused(sql: Sql, lake: Lake, query: str, secret: Path) -> None:
    """One line, exit 2, and nothing was written, run or read."""
    query = query.replace("{secret}", str(secret)).replace("{root}", lake.job.settings.root)
    before = lake.versions()
    with pytest.raises(UsageError) as caught:
        sql(lake.job.tables, query)
    said = str(caught.value)
    assert "\n" not in said and said.startswith("sql") and len(said) < 1000
    assert "nobody may read this" not in said
    assert lake.versions() == before
    assert [path.name for path in secret.parent.iterdir()] == [secret.name]


def test_settings_are_not_put_into_queries(filled: Lake, on_spark: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spark replaces ``${env:…}`` and ``${spark.…}`` in SQL by default: keys could be read that way."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-show")
    row = on_spark(filled.job.tables, "SELECT '${spark.app.name}' AS a, '${system:user.home}' AS b").to_pylist()[0]
    assert row == {"a": "${spark.app.name}", "b": "${system:user.home}"}


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("SELECT * FROM asset", "did you mean 'assets'?"),
        ("SELECT * FROM site_watch.shot", "did you mean 'site_watch.shots'?"),
        ("SELECT * FROM featur_loudness", "did you mean 'feature_loudness'?"),
        ("SELECT * FROM zzz", "there are arrivals, blobs, assets"),
        ("SELECT pathh FROM assets", "path"),
    ],
)
def test_the_nearest_name_is_told_by_both(filled: Lake, on_spark: Sql, query: str, hint: str) -> None:
    for sql in (local_sql, on_spark):
        with pytest.raises(UsageError) as caught:
            sql(filled.job.tables, query)
        assert hint in str(caught.value)


def test_which_tables_there_are(filled: Lake) -> None:
    shown = local_sql(filled.job.tables, "SHOW TABLES").column(0).to_pylist()
    assert {*BRONZE, *VIEWS, *FEATURES} <= set(shown)
    for query in LISTING:
        assert local_sql(filled.job.tables, query).num_rows, query
    described = local_sql(filled.job.tables, "DESCRIBE assets").column("column_name").to_pylist()
    assert described == BRONZE["assets"].names


def test_only_what_is_named_is_opened(filled: Lake) -> None:
    tables = filled.job.tables
    assert set(mentioned_tables(tables, "SELECT * FROM Blobs")) == {"blobs"}
    assert set(mentioned_tables(tables, "SELECT * FROM quarantine_open")) == {"quarantine"}
    assert mentioned_tables(tables, 'FROM site_watch."shots"') == {"site_watch.shots": 1}
    assert mentioned_tables(tables, "SELECT 1") == {}
    assert set(mentioned_tables(tables, "SELECT * FROM assets WHERE path = 'show me'")) == {"assets"}
    assert {"assets", "runs", "site_watch.shots"} <= set(mentioned_tables(tables, "SELECT name FROM (SHOW TABLES)"))


def test_limits(filled: Lake, spark: SparkSession) -> None:
    query = "SELECT path FROM assets ORDER BY path DESC, asset_id"
    whole = local_sql(filled.job.tables, query).column(0).to_pylist()
    for limit in (1, 3, 10**6):
        assert local_sql(filled.job.tables, query, limit=limit).column(0).to_pylist() == whole[:limit]
        assert spark_sql(spark, filled.job.tables, query, limit=limit).column(0).to_pylist() == whole[:limit]
    long = local_sql(filled.job.tables, "SELECT * FROM range(30000)", limit=25_000)
    assert long.column(0).to_pylist() == list(range(25_000))


def test_sums_are_integers_unless_they_need_128_bits(filled: Lake) -> None:
    rows = local_sql(filled.job.tables, f"SELECT sum(1) AS few, sum({2**63 - 1}) AS many FROM range(3)")
    assert str(rows.schema.field("few").type) == "int64"
    assert int(rows.to_pylist()[0]["many"]) == 3 * (2**63 - 1)


def test_auto_chooses_by_the_size_of_what_is_named(filled: Lake) -> None:
    job = filled.job
    size_bytes = job.tables.size_bytes("assets")
    files = Path(job.tables.uri("assets")).glob("*.parquet")
    assert size_bytes == sum(file.stat().st_size for file in files) > 0

    def chosen(query: str, limit_bytes: int) -> str:
        sql = job.settings.sql.model_copy(update={"spark_from_bytes": limit_bytes})
        settings = job.settings.model_copy(update={"sql": sql})
        return choose_engine(type(job)(settings, job.tables, job.store), query)

    assert chosen("SELECT * FROM assets", size_bytes) == "spark"
    assert chosen("SELECT * FROM assets", size_bytes + 1) == "local"
    both = size_bytes + job.tables.size_bytes("blobs")
    assert chosen("SELECT * FROM assets JOIN blobs USING (sha256)", both) == "spark"
    assert chosen("SELECT 1", 1) == "local"
    for query in LISTING:
        assert chosen(query, 1) == "local", query
    for query in (
        "SELECT path AS show FROM assets WHERE path > '('",
        "SELECT count(path) /* (show all) */ FROM assets",
    ):
        assert chosen(query, size_bytes) == "spark", query
    assert (
        chosen("SELECT * FROM assets WHERE path <> 'show duckdb_' -- it's information_schema", size_bytes + 1)
        == "local"
    )
    assert choose_engine(job, "SELECT * FROM assets") == "local", "gigabytes by default"


def test_the_command_says_who_answered(filled: Lake) -> None:
    arguments = ["--root", filled.job.settings.root, "sql", "SELECT count(*) AS n FROM blobs"]
    told = CliRunner().invoke(cli, arguments, obj=Invocation())
    assert told.stderr == "answered by DuckDB\n"
    assert told.stdout.splitlines()[0] == "n"
    document = json.loads(CliRunner().invoke(cli, [*arguments, "--json"], obj=Invocation(json=True)).stdout)
    assert (document["engine"], document["more_rows"]) == ("local", False)


def test_limit_of_the_command(filled: Lake) -> None:
    arguments = ["--root", filled.job.settings.root, "sql", "SELECT path FROM assets", "--limit", "2"]
    told = CliRunner().invoke(cli, arguments, obj=Invocation())
    assert len(told.stdout.splitlines()) == 3
    assert "only the first 2 rows" in told.stderr
    document = json.loads(CliRunner().invoke(cli, arguments, obj=Invocation(json=True)).stdout)
    assert (len(document["rows"]), document["more_rows"]) == (2, True)


def test_values_as_people_and_programs_read_them(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Any]] = [*ODD.to_pylist(), {"level": math.inf}]
    print_rows(ODD.column_names, rows)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split("\t") == [
        "1", "1.50", "2026-03-01T08:00:00.000005Z", "<2 bytes>", "tab\\there 行\\n", '["a", null]', "0.1", "True",
    ]  # fmt: skip
    assert lines[3] == "\t" * 7
    read = [json.loads(json_text(row)) for row in rows]
    assert read[0]["at"] == "2026-03-01T08:00:00.000005+00:00"
    assert (read[0]["raw"], read[0]["Größe"], read[0]["many"]) == ("AP8=", "1.50", ["a", None])
    assert set(read[2].values()) == {None}
    assert read[3]["level"] == "Infinity"
