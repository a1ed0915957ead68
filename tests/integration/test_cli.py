"""The ``lake`` command as its users have it: real processes, their exit statuses, and what they say."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import VERBS
from lake.jvm.archive import archive_path
from lake.jvm.resolve import folder, jars
from lake.jvm.store_jar import STORE_JAR
from lake.settings import cache_dir
from tests.support.lakes import Lake
from tests.support.minio import MinioServer

pytestmark = pytest.mark.timeout(400)

COMMAND = Path(sys.executable).with_name("lake")

READING: dict[str, list[str]] = {
    "sql": ["sql", "SELECT count(*) AS n FROM assets"],
    "sql local": ["sql", "--engine", "local", "SELECT * FROM quarantine_open"],
    "quarantine list": ["quarantine", "list"],
    "quarantine show": ["quarantine", "show", "cut.mp4"],
    "runs list": ["runs", "list"],
    "models list": ["models", "list"],
    "models show": ["models", "show", "vad/loud@1"],
    "models verify": ["models", "verify"],
    "library list": ["library", "list"],
    "library show": ["library", "show", "site_watch"],
    "store stat": ["store", "stat"],
    "report": ["report", "-o", "{tmp}/report.html"],
    "export": ["export", "SELECT asset_id FROM assets WHERE path = 'a.csv'", "{tmp}/out"],
}
"""Verbs that only read."""

FIXED = {
    "sql": {"rows"},
    "quarantine list": {"rows"},
    "quarantine show": {"rows"},
    "runs list": {"rows"},
    "models list": {"rows"},
    "models show": {"name", "version", "task", "format", "licence", "model_hash", "files"},
    "models verify": {"models"},
    "store stat": {"blobs", "packs", "bytes", "overhead_bytes", "dead_bytes"},
    "report": {"path"},
    "export": {"files", "bytes"},
    "library show": {"name", "version", "tables", "quality"},
}
"""Fields of ``--json`` by DESIGN §9."""


def lake(*arguments: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """One call of the command, as a shell makes it."""
    command = [str(COMMAND), *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The one JSON document on stdout."""
    found: dict[str, Any] = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    return found


def one_line(done: subprocess.CompletedProcess[str], status: int, *said: str) -> None:
    """What is wrong, in one line on stderr, with the exit status of DESIGN §9 and no stack trace."""
    lines = done.stderr.strip().splitlines()
    assert (done.returncode, len(lines)) == (status, 1), done.stderr
    assert lines[0].startswith("lake: ") and "Traceback" not in done.stderr and "unexpected" not in lines[0]
    for text in said:
        assert text in lines[0]


@pytest.fixture
def root(filled: Lake) -> str:
    return str(filled.job.settings.root)


@pytest.fixture
def without_java(tmp_path: Path) -> dict[str, str]:
    """An environment in which no Java can be started."""
    empty = tmp_path / "empty"
    empty.mkdir()
    assert shutil.which("java", path=str(empty)) is None
    return {**{k: v for k, v in os.environ.items() if k != "JAVA_HOME"}, "PATH": str(empty)}


# --- what reads needs no JVM, and gives the fields that are fixed


@pytest.mark.parametrize("verb", READING)
def test_reading_verbs_work_without_java(root: str, tmp_path: Path, without_java: dict[str, str], verb: str) -> None:
    arguments = [part.replace("{tmp}", str(tmp_path)) for part in READING[verb]]
    done = lake("--root", root, *arguments, "--json", environ=without_java)
    assert done.returncode == 0, done.stderr
    found = document(done)
    assert FIXED.get(verb, set()) <= found.keys()
    assert "Traceback" not in done.stderr


def test_cat_without_java(root: str, filled: Lake, without_java: dict[str, str]) -> None:
    row = next(row for row in filled.rows("assets") if row["path"] == "a.jpg")
    command = [str(COMMAND), "--root", root, "cat", row["asset_id"]]
    done = subprocess.run(command, env=without_java, capture_output=True, check=True)
    assert done.stdout == filled.read(row["asset_id"])
    assert done.stderr == b""
    assert document(lake(*command[1:], "--json")) == {
        "sha256": row["sha256"],
        "content_type": "image/jpeg",
        "bytes": row["size_bytes"],
    }


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["runs", "list"], ["cat", "{asset}"], ["sql", "SELECT 1"], ["store", "stat"], ["library", "list"]],
)
def test_nothing_heavy_is_imported(root: str, filled: Lake, arguments: list[str]) -> None:
    """Spark is not imported by what needs none; ``--help`` imports no engine at all."""
    asset = filled.rows("assets")[0]["asset_id"]
    code = (
        "import sys\nfrom jobs.cli import main\n"
        "try:\n    main(sys.argv[1:])\nfinally:\n    print('MODULES', *sorted(sys.modules), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "--root", root, *(part.replace("{asset}", asset) for part in arguments)]
    done = subprocess.run(command, capture_output=True, check=False)
    modules = set(done.stderr.decode().partition("MODULES ")[2].split())
    assert done.returncode == 0 and "jobs.cli" in modules
    heavy = {"pyspark", "py4j", "av", "cv2", "onnxruntime", "faster_whisper", "scipy"}
    heavy |= {"pyarrow", "duckdb", "deltalake", "pydantic", "pandas"} if arguments == ["--help"] else set()
    assert modules & heavy == set()


def test_import_lake_is_light() -> None:
    code = "import lake, sys; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pyspark", "pyarrow", "duckdb", "deltalake", "pydantic", "numpy"} & set(modules)


# --- the command line itself


@pytest.mark.parametrize("verb", [[], *([verb] for verb in VERBS), ["library", "build"], ["quarantine", "retry"]])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_verb_has_help_with_an_example(verb: list[str], flag: str) -> None:
    done = lake(*verb, flag)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--root URI" in done.stdout and "--json" in done.stdout
    groups = ("engine", "library", "models", "quarantine", "runs", "store")
    assert f"lake {' '.join(verb)}".strip() in done.stdout.partition("\n\n")[2] or verb[0] in groups


@pytest.mark.parametrize(
    "arguments",
    [
        ["--root", "{root}", "--json", "runs", "list"],
        ["runs", "--root", "{root}", "--json", "list"],
        ["runs", "list", "--root", "{root}", "--json"],
        ["--json", "runs", "list", "--root", "{root}"],
    ],
)
def test_common_options_anywhere(root: str, arguments: list[str]) -> None:
    done = lake(*(part.replace("{root}", root) for part in arguments))
    assert (done.returncode, done.stderr) == (0, "")
    assert document(done)["rows"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sqll", "SELECT 1"], "no verb 'sqll': did you mean 'sql'? (see `lake --help`)"),
        (["library", "lst"], "no verb 'lst': did you mean 'list'? (see `lake library --help`)"),
        (["zzzzzz"], "no verb 'zzzzzz': known are init, doctor"),
        (["sql"], "Missing argument 'QUERY' (see `lake sql --help`)"),
        (["sql", "SELECT 1", "--engine", "x"], "'x' is not one of 'auto', 'local', 'spark' (see `lake sql --help`)"),
        (["sql", "SELECT 1", "--limit", "0"], "--limit"),
        (["sql", "SELECT 1", "--limt", "1"], "'--limt'. Did you mean '--limit'? (see `lake sql --help`)"),
        (["sql", "SELECT * FROM asset"], "did you mean 'assets'?"),
        (["sql", "DROP TABLE assets"], "sql takes one SELECT"),
        (["runs", "list", "--limit", "many"], "--limit"),
        (["analyze", "speach"], "speech"),
        (["quarantine", "retry", "--analysis", "nope"], "no analysis 'nope': known are document_text"),
        (["library", "show", "site_wach"], "site_watch"),
        (["ingest", "/tmp", "--device", "cam-1"], "cam-"),
        (["ingest"], "name a SOURCE"),
        (["cat", "not-an-id"], "'not-an-id' is no asset id or sha256"),
        (["export", "SELECT 1 AS a", "/tmp/x"], "asset_id or sha256"),
        (["--profile", "mino", "runs", "list"], "no profile 'mino': did you mean 'minio'?"),
        (["runs", "list", "--root", ""], "the root is empty"),
        (["runs", "list", "--root", "ftp://x"], "use a folder or s3://bucket/prefix"),
        (["runs", "list", "--root", "s3://"], "names no bucket"),
    ],
)
def test_wrong_use_is_exit_2(root: str, arguments: list[str], said: str) -> None:
    """A line for a person on stderr, one document for a program on stdout; without ``--json`` stdout is empty."""
    before = ["--root", root] if "--root" not in arguments else []
    done = lake(*before, *arguments, "--json")
    one_line(done, 2, said)
    told = document(done)
    assert told.keys() == {"error", "exit"}
    assert said in told["error"] and told["exit"] == 2


def test_a_group_without_a_verb_shows_its_help(root: str) -> None:
    done = lake("--root", root, "store")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Commands:" in done.stderr and done.stderr.endswith("lake: name a verb of `lake store`\n")
    assert lake("store", "lst").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cat", "0" * 32], "no asset 00000000000000000000000000000000 in"),
        (["cat", "0" * 64], "no blob 0000"),
        (["runs", "show", "1999"], "no run begins with '1999': `lake runs list` shows them"),
        (["quarantine", "show", "never.mp4"], "nothing called 'never.mp4' in quarantine"),
        (["ingest", "/nowhere/at/all"], "/nowhere/at/all"),
        (["export", "SELECT asset_id FROM assets", "/proc/nowhere"], "cannot be written"),
    ],
)
def test_what_is_not_there_is_exit_1(root: str, arguments: list[str], said: str) -> None:
    one_line(lake("--root", root, *arguments), 1, said)
    assert document(lake("--root", root, *arguments, "--json"))["exit"] == 1


def test_no_lake_there(tmp_path: Path) -> None:
    one_line(lake("--root", str(tmp_path / "x"), "runs", "list"), 1, f"no lake at {tmp_path}/x", "init")
    assert not (tmp_path / "x").exists()


def test_debug_shows_the_stack_trace(root: str) -> None:
    assert "Traceback" in lake("--root", root, "--debug", "cat", "0" * 64).stderr
    assert "Traceback" in lake("--root", root, "cat", "0" * 64, "--debug").stderr


# --- stores that cannot be used: one line, soon


@pytest.mark.parametrize(
    ("changed", "root", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong-wrong-wrong"}, None, "keys"),
        ({"AWS_ACCESS_KEY_ID": "nobody-knows-me"}, None, "keys"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, None, "the endpoint http://127.0.0.1:9"),
        (
            {"AWS_ENDPOINT_URL": "http://no-such-host.invalid:9000"},
            None,
            "the endpoint http://no-such-host.invalid:9000",
        ),
        ({}, "s3://no-such-bucket-anywhere/x", "bucket"),
        ({}, "s3://{bucket}/empty", "no lake at s3://{bucket}/empty"),
    ],
)
@pytest.mark.parametrize("verb", [["runs", "list"], ["ingest", "."], ["store", "stat"], ["report", "-o", "/tmp/x"]])
def test_wrong_root_bucket_key_or_endpoint(
    minio: MinioServer, bucket: str, changed: dict[str, str], root: str | None, said: str, verb: list[str]
) -> None:
    environ = {**os.environ, **minio.environ(), **changed}
    where = (root or "s3://{bucket}/x").replace("{bucket}", bucket)
    done = lake("--root", where, *verb, environ=environ)
    one_line(done, 1, said.replace("{bucket}", bucket))
    assert minio.secret_key not in done.stdout + done.stderr


# --- writing: dry runs, documents, exit statuses


def test_the_way_of_a_recording(tmp_path: Path) -> None:
    """Every document of DESIGN §9 on the way, and a dry run before each step that writes nothing."""
    root, folder = str(tmp_path / "lake"), tmp_path / "in"
    folder.mkdir()
    (folder / "note.txt").write_text("hello\n")
    (folder / "twin.txt").write_text("hello\n")
    (folder / "empty.mp4").touch()

    def call(*arguments: str, status: int = 0) -> dict[str, Any]:
        done = lake("--root", root, *arguments, "--json")
        assert done.returncode == status, done.stderr
        return document(done)

    dry = call("init", "--dry-run")
    assert not Path(root, "tables").exists()
    assert {"name", "ok", "detail"} == dry["checks"][0].keys() == call("init")["checks"][0].keys()
    dry = call("ingest", str(folder), "--dry-run")
    assert (dry["run_id"], dry["pending"], dry["landed"]) == (None, 3, 0)
    assert call("runs", "list")["rows"] == []
    landed = call("ingest", str(folder), "--strict", status=5)
    fixed = {"run_id", "arrivals", "landed", "duplicates", "quarantined", "pending", "bytes", "seconds"}
    assert fixed <= landed.keys()
    assert [landed[k] for k in ("arrivals", "landed", "duplicates", "quarantined", "pending")] == [3, 1, 1, 1, 0]
    assert call("ingest", str(folder))["arrivals"] == 0
    assert call("analyze", "document_text", "--dry-run")["analyses"]["document_text"]["pending"] == 1
    analysed = call("analyze", "document_text")
    assert {"run_id", "analyses", "seconds"} <= analysed.keys()
    assert {"done": 1, "skipped": 0, "failed": 0}.items() <= analysed["analyses"]["document_text"].items()
    nothing = {"tried": 1, "mended": 0, "failed": 0, "sources_lost": [], "left_out": {}}
    assert call("quarantine", "retry", "--dry-run") == nothing
    assert call("quarantine", "retry")["failed"] == 1
    query = "SELECT asset_id FROM assets WHERE media_kind = 'document'"
    assert call("export", query, str(tmp_path / "out"), "--dry-run")["files"] == 2
    assert not (tmp_path / "out").exists()
    assert call("export", query, str(tmp_path / "out"))["bytes"] == 12
    assert {path.read_text() for path in (tmp_path / "out").iterdir()} == {"hello\n"}
    run = call("runs", "show", landed["run_id"])["rows"]
    assert (run[0]["state"], run[0]["rows_in"], run[1]["stage"]) == ("done", 3, "ingest")
    assert {"blobs": 2, "missing_objects": 0}.items() <= call("store", "stat").items()


def test_folders_whose_names_are_no_utf8(tmp_path: Path) -> None:
    """Their odd bytes are written as in keys: in tables, on stdout, on stderr and in the record of runs."""
    root, folder, out, nowhere = (
        str(tmp_path / os.fsdecode(name)) for name in (b"lake", b"caf\xe9", b"o\xff", b"n\xff")
    )
    Path(folder).mkdir()
    (Path(folder) / os.fsdecode(b"\xe9.txt")).write_text("hello\n")
    for arguments in (["init"], ["ingest", folder]):
        done = lake("--root", root, *arguments)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    again = document(lake("--root", root, "ingest", folder, "--json"))
    assert (again["seen"], again["arrivals"]) == (1, 0)
    (asset,) = document(lake("--root", root, "--json", "sql", "SELECT source, path FROM assets"))["rows"]
    assert asset == {"source": f"file://{tmp_path}/caf%E9", "path": "%E9.txt"}
    one_line(lake("--root", root, "ingest", nowhere), 1, f"Folder {tmp_path}/n%FF does not exist")
    failed = lake("--root", root, "ingest", nowhere, "--json")
    assert f"Folder {tmp_path}/n%FF does not exist" in document(failed)["error"]
    runs = document(lake("--root", root, "runs", "list", "--json"))["rows"]
    assert [run["state"] for run in runs] == ["failed", "failed", "done", "done"]
    assert runs[0]["arguments"] == f"--root {root} ingest {tmp_path}/n%FF --json"
    assert runs[3]["arguments"].endswith(f" ingest {tmp_path}/caf%E9")
    export = ("--root", root, "export", "SELECT asset_id FROM assets", out)
    assert document(lake(*export, "--json"))["dest"] == f"{tmp_path}/o%FF"
    assert f"written to {tmp_path}/o%FF" in lake(*export).stdout
    (file,) = Path(out).iterdir()
    assert os.fsencode(file.name).startswith(b"\xe9.") and file.read_text() == "hello\n"


def test_data_to_stdout_the_rest_to_stderr(root: str) -> None:
    done = lake("--root", root, "sql", "SELECT path, size_bytes FROM assets ORDER BY path LIMIT 2")
    assert [line.count("\t") for line in done.stdout.splitlines()] == [1, 1, 1]
    assert done.stderr == "answered by DuckDB\n"


# --- being stopped


def test_the_jvm_says_nothing_on_stdout(root: str, tmp_path: Path) -> None:
    """It warns there of an archive that it cannot use: this one is older than the JARs."""
    folder(tmp_path).mkdir()
    for path in jars(cache_dir(), s3=False):
        shutil.copyfile(path, folder(tmp_path) / path.name)
    theirs, ours = (
        archive_path(cache, [*(str(path) for path in jars(cache, s3=False)), str(STORE_JAR)])
        for cache in (cache_dir(), tmp_path)
    )
    ours.parent.mkdir()
    ours.symlink_to(theirs.resolve(strict=True))
    environ = {**os.environ, "LAKE_CACHE": str(tmp_path)}
    done = lake("--root", root, "--json", "sql", "--engine", "spark", "SELECT 1 AS one", environ=environ)
    assert document(done)["rows"] == [{"one": 1}], done.stderr
    assert done.stderr == "answered by Spark\n"


def test_a_closed_pipe_is_quiet(root: str, filled: Lake) -> None:
    asset = next(row["asset_id"] for row in filled.rows("assets") if row["path"] == "a.wav")
    for verb in ("sql 'SELECT * FROM range(500000)'", "runs list", f"cat {asset}"):
        script = f"{COMMAND} --root {root} {verb} | true"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
        assert done.stderr.replace("answered by DuckDB\n", "") == ""


def started(root: str, *arguments: str, log: Path) -> subprocess.Popen[str]:
    """A command in a process group of its own, as a terminal starts it."""

    def as_a_terminal_does() -> None:
        # A shell lets what it starts in the background, such as these tests, ignore Ctrl-C; children inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)

    command = [str(COMMAND), "--root", root, *arguments]
    with log.open("w") as err:
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
            start_new_session=True,
            preexec_fn=as_a_terminal_does,
        )


def wait_for(what: Callable[[], object], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def members(group: int) -> list[int]:
    """Processes of a process group that still live."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(entry.name))
    return found


@pytest.mark.parametrize("how", ["ctrl-c", "sigterm"])
def test_an_interrupted_run_is_recorded(tmp_path: Path, local_lake: Lake, how: str) -> None:
    """Ctrl-C goes to the whole group, a scheduler's SIGTERM to the command alone; both leave nothing behind."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3000):
        (folder / f"{number}.txt").write_text(f"note {number}\n")
    tables = local_lake.job.tables
    process = started(tables.root, "ingest", str(folder), "--json", log=tmp_path / "log")
    wait_for(lambda: tables.dataset("runs").count_rows() == 1)
    os.killpg(process.pid, signal.SIGINT) if how == "ctrl-c" else process.send_signal(signal.SIGTERM)
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(stdout) == {"error": "interrupted", "exit": 130}
    assert (tmp_path / "log").read_text().strip() == "lake: interrupted"
    rows = local_lake.rows("runs")
    assert sorted(row["state"] for row in rows) == ["interrupted", "running"]
    assert {row["exit_status"] for row in rows} == {None, 130}
    wait_for(lambda: not members(process.pid))
    report = local_lake.ingest(folder)
    assert len(local_lake.rows("arrivals")) == 3000 and report["quarantined"] == 0


def test_no_jvm_is_left_when_its_start_is_interrupted(tmp_path: Path, filled: Lake) -> None:
    root = filled.job.settings.root
    process = started(root, "sql", "--engine", "spark", "SELECT 1", log=tmp_path / "log")
    wait_for(lambda: len(members(process.pid)) > 1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=90)
    assert process.returncode == 130
    wait_for(lambda: not members(process.pid), 30)
