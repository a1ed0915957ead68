"""``lake submit`` on a real standalone cluster, whose executors have the zip and installed packages alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lake.cluster.code import code_files, code_hash
from lake.engine import Engine
from tests.support.cluster import Cluster
from tests.support.documented import example
from tests.support.lakes import ROOT, Lake, bucket_lake, command, new_lake
from tests.support.minio import MinioServer
from tests.support.submitted import SCRIPT, done

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture
def empty(tmp_path: Path, local_engine: Engine) -> Lake:
    return new_lake(str(tmp_path / "lake"), local_engine)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A script of a user's, beside a module of its own."""
    (tmp_path / "neighbour.py").write_text("WORD = 'from beside'\n")
    path = tmp_path / "own script.py"
    path.write_text(SCRIPT)
    return path


def ended(cluster: Cluster, application_id: str) -> str:
    """How the master says that an application ended: it hears of it a moment after the driver is gone."""
    for _ in range(100):
        state = cluster.applications().get(application_id, "RUNNING")
        if state != "RUNNING":
            break
        time.sleep(0.2)
    return state


def test_a_verb_runs_there_and_ends_as_it_does(cluster: Cluster, empty: Lake, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(5):
        (tmp_path / "in" / f"{number}.txt").write_text(f"note {number}")
    (tmp_path / "in" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    conf = {"LAKE_CONF": str(cluster.conf())}
    words = ("submit", "ingest", str(tmp_path / "in"), "--strict", "--json")
    out, said = done(command(empty, *words, **conf), 5)
    document: dict[str, Any] = json.loads(out)
    assert document["exit"] == 5
    assert (document["job"], document["arguments"]) == ("ingest", [str(tmp_path / "in"), "--strict"])
    assert (document["result"]["landed"], document["result"]["quarantined"]) == (5, 1)
    assert document["result"]["engine"] == "spark"
    assert ended(cluster, document["application_id"]) == "FINISHED"
    assert f"lake: application {document['application_id']} on {cluster.master}" in said
    states = [row["state"] for row in empty.rows("runs") if row["run_id"] == document["result"]["run_id"]]
    assert sorted(states) == ["done", "running"]
    assert len(empty.rows("assets")) == 6


def test_a_script_sees_the_lake_everywhere(cluster: Cluster, empty: Lake, script: Path) -> None:
    conf = {"LAKE_CONF": str(cluster.conf())}
    out, said = done(command(empty, "submit", str(script), "--", "--json", "two words", **conf), 7)
    answers = [json.loads(line) for line in out.splitlines()]
    assert len(answers) == 8
    assert {answer["code"] for answer in answers} == {code_hash(code_files())}
    assert all(".zip/lake/" in answer["lake"] for answer in answers)
    assert {answer["word"] for answer in answers} == {"from beside"}
    told = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    assert told == {"arguments": ["--json", "two words"], "root": empty.job.settings.root, "profile": "local"}
    assert "Traceback" not in said


def test_the_script_of_the_guide_reads_tables_and_recordings(
    cluster: Cluster,
    minio: MinioServer,
    bucket: str,
    local_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """On executors that have nothing but the zip: frames of the lake's tables, recordings' own bytes in tasks."""
    lake = bucket_lake(minio, bucket, local_engine, monkeypatch)
    for name, text in (("scan-office/a.txt", "three short words"), ("mic-hall/b.txt", "one more\n" * 3)):
        (tmp_path / "in" / name).parent.mkdir(parents=True)
        (tmp_path / "in" / name).write_text(text)
    lake.ingest(tmp_path / "in")
    (tmp_path / "words.py").write_text(example("guide.md", "words.py"))
    out, _ = done(command(lake, "submit", str(tmp_path / "words.py"), LAKE_CONF=str(cluster.conf())), 0)
    assert out.splitlines() == ["mic-hall 6", "scan-office 3"]


@pytest.mark.full
@pytest.mark.parametrize("way", ["submit", "session"])
def test_packages_come_by_an_archive(cluster: Cluster, empty: Lake, script: Path, tmp_path: Path, way: str) -> None:
    """A virtual environment is packed, unpacked beside each executor, and its Python runs the tasks: of a job that is
    submitted, and of a session that a process here starts."""
    from lake.cluster.packing import pack_environment

    made = tmp_path / "venv"
    venv.create(made, with_pip=False, symlinks=True)
    (packages,) = made.glob("lib/python*/site-packages")
    # What the tests have installed, by path: a true archive of it has two gigabytes.
    (packages / "installed.pth").write_text(f"{next(p for p in sys.path if p.endswith('site-packages'))}\n")
    (packages / "of_the_archive.py").write_text("")
    (packages / "__pycache__").mkdir(exist_ok=True)
    (packages / "__pycache__" / "left.pyc").write_bytes(b"")
    archive = tmp_path / "environment.tar.gz"
    pack_environment(made, archive)
    with tarfile.open(archive) as packed:
        assert not [name for name in packed.getnames() if "__pycache__" in name]
    conf = tmp_path / "conf"
    (conf / "profiles").mkdir(parents=True)
    settings = yaml.safe_load((cluster.conf() / "lake.yaml").read_text())
    settings["spark"] |= {"master": cluster.master, "environment": str(archive)}
    (conf / "profiles" / "packed.yaml").write_text(yaml.safe_dump(settings))
    if way == "submit":
        process = command(empty, "submit", str(script), "--profile", "packed", LAKE_CONF=str(conf))
    else:
        process = subprocess.Popen(
            [sys.executable, str(script)],
            # As a user's shell has it: make's own PYTHONSAFEPATH would hide what lies beside the script.
            env={
                **{name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"},
                **{"PYTHONPATH": str(ROOT), "LAKE_CONF": str(conf), "LAKE_PROFILE": "packed"},
            },
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    answers = [json.loads(line) for line in done(process, 7)[0].splitlines()]
    for answer in answers:
        assert answer["python"].endswith("/environment/bin/python")
        assert str(cluster.folder) in answer["python"]
        assert "/environment/lib/" in answer["archive"]


def test_an_interrupt_reaches_the_job(empty: Lake, tmp_path: Path) -> None:
    """On a local master: the driver is asked to end, says so, and nothing of it is left."""
    script = tmp_path / "slow.py"
    script.write_text(
        "import os, sys, time\n"
        "print(os.getpid(), os.getppid(), flush=True)\n"
        "try:\n"
        "    time.sleep(100)\n"
        "except KeyboardInterrupt:\n"
        "    print('cleaned up', flush=True)\n"
        "    raise\n"
    )
    process = command(empty, "submit", str(script))
    assert process.stdout is not None
    driver, jvm = map(int, process.stdout.readline().split())
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, _ = done(process, 130)
    assert out == "cleaned up\n"
    assert time.monotonic() - started < 30
    assert not [pid for pid in (driver, jvm) if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize(("ends", "status"), [("sys.exit(0)", 0), ("1 / 0", 1), ("os.kill(os.getpid(), 9)", 137)])
def test_the_exit_status_is_the_jobs_own(empty: Lake, tmp_path: Path, ends: str, status: int) -> None:
    script = tmp_path / "ends.py"
    script.write_text(f"import os, sys\nprint('data')\nprint('said', file=sys.stderr)\n{ends}\n")
    environment = {"AWS_SECRET_ACCESS_KEY": "a-very-secret-key", **os.environ}
    out, said = done(command(empty, "submit", str(script), **environment), status)
    assert out == "data\n"
    assert "said\n" in said
    assert ("ZeroDivisionError" in said) == (status == 1)
