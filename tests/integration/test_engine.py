"""The warm engine: verbs attach to it where it is what they would start, and to nothing else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lake.cluster.code import code_files, zip_name
from lake.engine.attach import session_for
from lake.engine.record import engine_folder, read_record, record_path
from lake.engine.spark import SparkEngine
from lake.errors import LakeError, PolicyRefused
from lake.remote import connect, version_of
from tests.integration.test_crash import source
from tests.support.engines import NO_JAVA, OthersServer, WarmEngine
from tests.support.lakes import ROOT

pytestmark = pytest.mark.timeout(400)

SECRET = "a-secret-key-of-the-test"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source(tmp_path_factory.mktemp("recordings") / "in")


def until(what: str, seconds: float, true: object) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def test_every_verb_that_needs_spark_runs_on_it(warm_engine: WarmEngine, recordings: Path) -> None:
    """Where no JVM can be started; and the rows are those of the local engine."""
    rows = {}
    for engine in ("local", "spark"):
        root = str(warm_engine.folder / engine)
        lake = lambda *arguments, root=root: warm_engine.lake("--root", root, *arguments, environ=NO_JAVA)  # noqa: E731
        lake("init")
        landed, said = lake("ingest", str(recordings), "--engine", engine)
        assert landed["landed"] > 0 and "warm engine" not in said
        analyzed, _ = lake("analyze", "image_hash", "document_text", "keyframes", "--engine", engine)
        assert analyzed["engine"] == engine
        queries = (
            "SELECT path, sha256, media_kind, size_bytes FROM assets ORDER BY path, sha256",
            "SELECT sha256, page, length(text) AS n FROM feature_document_text ORDER BY sha256, page",
        )
        rows[engine] = [lake("sql", query, "--engine", engine)[0]["rows"] for query in queries]
    assert rows["local"] == rows["spark"] and all(rows["local"])
    built, _ = lake("library", "build", "site_watch")
    assert built["published"]
    count = "SELECT count(*) AS n FROM site_watch.coverage"
    answers = [lake("sql", count, "--engine", engine)[0]["rows"] for engine in ("local", "spark")]
    assert answers[0] == answers[1] == [{"n": built["tables"]["coverage"]["rows"]}]


def test_without_java_nothing_else_would_have_run_it(warm_engine: WarmEngine, tmp_path: Path) -> None:
    """What the test above stands on."""
    other = WarmEngine(tmp_path / "other")
    other.lake("--root", str(tmp_path / "lake"), "init")
    query = ("--root", str(tmp_path / "lake"), "sql", "SELECT 1 AS a", "--engine", "spark")
    other.lake(*query, environ=NO_JAVA, expect=1)
    assert warm_engine.lake(*query, environ=NO_JAVA)[0]["rows"] == [{"a": 1}]


def test_other_code_is_never_run_by_it(warm_engine: WarmEngine, tmp_path: Path) -> None:
    for package in ("connectors", "jobs", "lake", "conf"):
        shutil.copytree(ROOT / package, tmp_path / "code" / package, ignore=shutil.ignore_patterns("__pycache__"))
    root = ("--root", str(tmp_path / "lake"))
    warm_engine.lake(*root, "init")
    query = (*root, "sql", "SELECT 1 AS a", "--engine", "spark")
    assert warm_engine.lake(*query, code=tmp_path / "code", environ=NO_JAVA)[0]["rows"] == [{"a": 1}]
    with (tmp_path / "code" / "lake" / "media" / "limits.py").open("a") as file:
        file.write("# changed\n")
    _, said = warm_engine.lake(*query, code=tmp_path / "code", environ=NO_JAVA, expect=1)
    assert said.splitlines()[0].startswith("lake: the warm engine is not used, it runs other code of the lake")
    status, _ = warm_engine.lake(*root, "engine", "status", code=tmp_path / "code", expect=3)
    assert (status["answers"], status["fits"]) == (True, False)
    _, said = warm_engine.lake(*root, "engine", "start", code=tmp_path / "code", expect=2)
    assert "other code" in said and "lake engine stop" in said


def test_its_workers_run_a_copy_that_nobody_edits(warm_engine: WarmEngine) -> None:
    def place(task: bytes) -> Iterator[bytes]:
        import lake

        yield str(lake.__file__).encode()

    with connect(warm_engine.url) as spark:
        (found,) = SparkEngine(spark, 1).run([b""], place)
    code = engine_folder(warm_engine.settings) / f"code-{warm_engine.record.made.code}"
    assert found.decode() == str(code / "lake" / "__init__.py")


def test_other_settings_are_told_by_name(warm_engine: WarmEngine, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "conf" / "lake.yaml").write_text("spark: {shuffle_partitions: 3}\n")
    root = ("--root", str(tmp_path / "lake"))
    warm_engine.lake(*root, "init")
    other = {**NO_JAVA, "LAKE_CONF": str(tmp_path / "conf")}
    _, said = warm_engine.lake(*root, "sql", "SELECT 1", "--engine", "spark", environ=other, expect=1)
    assert "its spark.sql.shuffle.partitions is 4, not 3" in said.splitlines()[0]
    environ = {**NO_JAVA, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": SECRET}
    status, _ = warm_engine.lake("--root", "s3://b/lake", "engine", "status", environ=environ, expect=3)
    assert "it lacks" in status["detail"] and "JARs" in status["detail"]
    for used, said in (({"LAKE_REMOTE": "sc://a:1/;token=t"}, "LAKE_REMOTE"), ({"LAKE_PROFILE": "cluster"}, "cluster")):
        status, _ = warm_engine.lake(*root, "engine", "status", environ=used, expect=3)
        assert (status["answers"], status["fits"]) == (True, False) and said in status["detail"]


def test_only_who_knows_the_token_is_answered(warm_engine: WarmEngine) -> None:
    at = warm_engine.url
    assert version_of(at) == "4.2.0"
    assert version_of(at.split("/;")[0]) is None
    assert version_of(at[:-1] + ("0" if at[-1] != "0" else "1")) is None


def test_what_one_verb_sees_no_other_does(warm_engine: WarmEngine) -> None:
    """Views and the catalogs of libraries belong to one session: two lakes may share an engine."""
    with connect(warm_engine.url) as one, connect(warm_engine.url) as other:
        one.sql("SELECT 1 AS a").createOrReplaceTempView("assets")
        one.conf.set("spark.sql.catalog.site_watch", "org.perceptionlake.PinnedCatalog")
        one.conf.set("spark.sql.catalog.site_watch.table.shots", "/nowhere")
        assert one.sql("SHOW TABLES IN site_watch").collect()[0]["tableName"] == "shots"
        for query in ("SELECT * FROM assets", "SHOW TABLES IN site_watch"):
            with pytest.raises(Exception, match="NOT_FOUND"):
                other.sql(query).collect()


def test_from_its_start_to_its_death(tmp_path: Path) -> None:
    """It listens on the loopback alone, nobody else reads its record, no secret is on a command line, and the record
    of a dead one is removed."""
    engine = WarmEngine(tmp_path / "own", {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": SECRET})
    assert engine.lake("engine", "status", expect=3)[0]["running"] is False
    started, _ = engine.lake("engine", "start")
    record = engine.record
    try:
        again, _ = engine.lake("engine", "start")
        assert (again["pid"], again["port"]) == (started["pid"], started["port"]) == (record.pid, record.port)
        assert (again["answers"], again["fits"]) == (True, True) and again["uptime_s"] > 0
        path = record_path(engine.settings)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE((path.parent / "engine.log").stat().st_mode) == 0o600
        assert SECRET not in path.read_text()
        family = [psutil.Process(record.pid), *psutil.Process(record.pid).children(recursive=True)]
        family = [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
        said = " ".join(word for each in family for word in each.cmdline())
        assert "SparkSubmit" in said and SECRET not in said and record.token not in said
        listening = [
            each.laddr for process in family for each in process.net_connections("inet") if each.status == "LISTEN"
        ]
        assert record.port in {address.port for address in listening}
        assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    finally:
        os.kill(record.pid, signal.SIGKILL)
    until("the JVM outlives its driver", 30, lambda: not any(each.is_running() for each in family[1:]))
    assert engine.lake("engine", "status", expect=3)[0]["running"] is False
    assert not path.exists()
    assert engine.lake("engine", "stop")[0] == {"stopped": False, "pid": None}


def test_it_runs_where_it_is_started(tmp_path: Path) -> None:
    """So that relative settings mean the same to it as to a verb; and it leaves nothing there."""
    engine = WarmEngine(tmp_path)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "conf" / "lake.yaml").write_text("s3: {credentials_file: keys}\n")
    (tmp_path / "keys").write_text(f"AWS_ACCESS_KEY_ID=somebody\nAWS_SECRET_ACCESS_KEY={SECRET}\n")
    relative = {"LAKE_CACHE": "cache"}
    before = {path.name for path in tmp_path.iterdir()}
    started, _ = engine.lake("engine", "start", cwd=tmp_path, environ=relative)
    try:
        assert started["fits"]
        jars = engine.record.made.conf["spark.jars"].split(",")
        assert all(Path(jar).is_absolute() for jar in jars), "it outlives the folder"
        engine.lake("init", cwd=tmp_path, environ=relative)
        for cache in (relative, {}):
            query = ("sql", "SELECT count(*) AS n FROM assets", "--engine", "spark")
            answer, _ = engine.lake(*query, cwd=tmp_path, environ={**NO_JAVA, **cache})
            assert answer["rows"] == [{"n": 0}]
    finally:
        engine.lake("engine", "stop")
    assert {path.name for path in tmp_path.iterdir()} == {*before, "lake-data"}


def test_why_it_did_not_start_is_one_line_and_where_to_read_on(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "conf" / "profiles" / "local.yaml").write_text("spark: {master: 'local[none]'}\n")
    engine = WarmEngine(tmp_path, {"LAKE_CONF": str(tmp_path / "conf")})
    log = record_path(engine.settings).with_name("engine.log")
    failed, said = engine.lake("engine", "start", expect=1)
    assert "Could not parse Master URL" in failed["error"] and failed["error"].endswith(f"(its log is {log})")
    assert said == f"lake: {failed['error']}\n" and "Traceback" in log.read_text()
    failed, _ = engine.lake("engine", "start", environ=NO_JAVA, expect=1)
    assert "JAVA_GATEWAY_EXITED" in failed["error"]


def test_one_that_nobody_uses_ends(tmp_path: Path) -> None:
    engine = WarmEngine(tmp_path / "idle", {"LAKE_ENGINE_IDLE_S": "1"})
    started, _ = engine.lake("engine", "start")
    until("an idle engine stays", 60, lambda: not psutil.pid_exists(started["pid"]))
    assert not record_path(engine.settings).exists() and read_record(engine.settings) is None


def test_a_server_elsewhere_is_used_with_the_code_of_the_verb(tmp_path: Path, recordings: Path) -> None:
    """``LAKE_REMOTE``: its workers have nothing of this checkout, and get the code as a zip."""

    def place(task: bytes) -> Iterator[bytes]:
        import lake

        yield str(lake.__file__).encode()

    here = WarmEngine(tmp_path / "here")
    root = ("--root", str(tmp_path / "lake"))
    here.lake(*root, "init")
    with OthersServer(with_lake=True) as at:
        remote = {**NO_JAVA, "LAKE_REMOTE": at}
        landed, _ = here.lake(*root, "ingest", str(recordings), environ=remote)
        assert landed["engine"] == "spark" and landed["landed"] > 0, "auto is Spark where one is named"
        rows = here.lake(*root, "sql", "SELECT count(*) AS n FROM assets", "--engine", "spark", environ=remote)[0]
        assert rows["rows"] == [{"n": landed["landed"] + landed["duplicates"] + landed["quarantined"]}]
        built, _ = here.lake(*root, "library", "build", "site_watch", environ=remote)
        assert built["published"]
        with session_for(here.settings.model_copy(update={"remote": at}), "test") as spark:
            (found,) = SparkEngine(spark, 1).run([b""], place)
        assert f"{zip_name(code_files())}/lake/" in found.decode()
        wrong = {**NO_JAVA, "LAKE_REMOTE": at[:-1] + "?"}
        _, said = here.lake(*root, "sql", "SELECT 1", "--engine", "spark", environ=wrong, expect=1)
        assert "does not answer" in said and OthersServer.TOKEN[:-1] not in said


@pytest.mark.parametrize(
    "address",
    ["sc://localhost:1/;token={}==", "sc://localhost:1/;token=a/{}", "sc://localhost:1;token={}", "sc://h;token={}"],
)
def test_an_address_that_cannot_be_read_is_not_shown(tmp_path: Path, recordings: Path, address: str) -> None:
    """What pyspark says of one has the token in it, or the token is taken for a part of the host."""
    here = WarmEngine(tmp_path / "here")
    root = ("--root", str(tmp_path / "lake"))
    here.lake(*root, "init")
    wrong = {"LAKE_REMOTE": address.format(SECRET)}
    document, said = here.lake(*root, "ingest", str(recordings), "--debug", environ=wrong, expect=2)
    rows = here.lake(*root, "sql", "SELECT * FROM runs")[0]["rows"]
    assert document["error"].startswith("LAKE_REMOTE cannot be read: write sc://host:port/;token=…, ")
    assert document["error"] in {row["message"] for row in rows}
    assert SECRET not in said + json.dumps([document, rows])


def test_a_server_without_the_lakes_log_store_is_refused_by_name(tmp_path: Path) -> None:
    here = WarmEngine(tmp_path / "here")
    with OthersServer(with_lake=False) as at:
        settings = here.settings.model_copy(update={"remote": at})
        with (
            pytest.raises(PolicyRefused, match=r"spark\.delta\.logStore\.file\.impl=None loses commits") as refused,
            session_for(settings, "test", writes=False),
        ):
            pass
        assert at.split("/;")[0] in str(refused.value) and OthersServer.TOKEN not in str(refused.value)
    with pytest.raises(LakeError, match="does not answer"), session_for(settings, "test"):
        pass
