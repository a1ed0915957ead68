"""``lake doctor --cluster`` on a real standalone cluster with one machine that can be told to be another."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lake.cluster.code import code_files, code_hash
from lake.engine import Engine
from tests.support.cluster import Cluster
from tests.support.lakes import ROOT, Lake, command, new_lake

pytestmark = pytest.mark.timeout(240)

ANOTHER_MACHINE = """
import os, sys, time
if os.environ.get("TEST_ANOTHER_MACHINE"):
    sys.path.insert(0, {code!r})
    right = time.time
    time.time = lambda: right() + 3600
"""
FACTS = ("code", "python", "java", "pyspark", "pyarrow", "opencv", "ffmpeg", "model of speech")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers; the second one's Python has code and a clock of its own when a job says so."""
    folder = tmp_path_factory.mktemp("cluster")
    other, start = folder / "other", folder / "start"
    for package in ("connectors", "jobs", "lake"):
        shutil.copytree(ROOT / package, other / package, ignore=shutil.ignore_patterns("__pycache__"))
    (other / "lake" / "model.py").open("a").write("# an older one\n")
    start.mkdir()
    (start / "sitecustomize.py").write_text(ANOTHER_MACHINE.format(code=str(other)))
    paths = (str(ROOT), os.pathsep.join([str(start), str(ROOT)]))
    with Cluster(folder, variables=[{"PYTHONPATH": path} for path in paths]) as started:
        yield started


def doctor(lake: Lake, cluster: Cluster, profile: Path, status: int, **spark: Any) -> dict[str, dict[str, Any]]:
    """The checks of the cluster by name, with these settings besides."""
    settings = yaml.safe_load((cluster.conf() / "lake.yaml").read_text())
    settings["spark"] |= {"master": cluster.master, "resources": {"executors": 2, "cores": 1}, **spark}
    (profile / "profiles").mkdir(parents=True)
    (profile / "profiles" / "asked.yaml").write_text(yaml.safe_dump(settings))
    process = command(lake, "doctor", "--cluster", "--json", "--profile", "asked", LAKE_CONF=str(profile))
    out, said = process.communicate(timeout=200)
    assert process.returncode == status, out + said
    return {c["name"]: c for c in json.loads(out)["checks"] if c["name"].startswith("cluster ")}


@pytest.mark.full
def test_executors_with_the_drivers_code_are_as_the_driver(
    cluster: Cluster, tmp_path: Path, local_engine: Engine
) -> None:
    lake = new_lake(str(tmp_path / "lake"), local_engine)
    checks = doctor(lake, cluster, tmp_path / "conf", 0)
    assert all(check["ok"] for check in checks.values())
    assert set(checks) == {f"cluster {name}" for name in ("executors", "clock", *FACTS)}
    assert checks["cluster executors"]["detail"] == "2 asked"
    assert checks["cluster code"]["detail"] == f"{code_hash(code_files())[:16]}, as the driver"
    assert re.match(r"17\.|21\.", checks["cluster java"]["detail"])
    assert "libavcodec" in checks["cluster ffmpeg"]["detail"]


@pytest.mark.full
def test_a_cluster_that_gives_no_executor_is_a_finding(cluster: Cluster, tmp_path: Path) -> None:
    """More memory is asked for than any worker has: the job would wait for ever."""
    settings = yaml.safe_load((cluster.conf() / "lake.yaml").read_text())
    settings["spark"]["conf"] |= {"spark.executor.memory": "100g"}
    settings["spark"] |= {"master": cluster.master}
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "greedy.yaml").write_text(yaml.safe_dump(settings))
    program = (
        "from lake.cluster.survey import examine_cluster\n"
        "from lake.settings import load_settings\n"
        f"for check in examine_cluster(load_settings({str(tmp_path)!r}, 'greedy'), 20.0): print(check)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "LAKE_CONF": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    assert re.fullmatch(r"Check\(name='cluster executors', ok=False, detail='spark://.* ran no task: .*\n", done.stdout)


def test_a_machine_that_differs_is_named(cluster: Cluster, tmp_path: Path, local_engine: Engine) -> None:
    """Its code is an older one, and its clock an hour ahead; nothing else is told."""
    lake = new_lake(str(tmp_path / "lake"), local_engine)
    conf = {"spark.executorEnv.TEST_ANOTHER_MACHINE": "1"}
    conf |= {"spark.driver.host": "127.0.0.1", "spark.executor.memory": "512m"}
    checks = doctor(lake, cluster, tmp_path / "conf", 3, ship_code=False, conf=conf)
    assert {name for name, check in checks.items() if not check["ok"]} == {"cluster code", "cluster clock"}
    ours, theirs = code_files(), code_files()
    theirs["lake/model.py"] += b"# an older one\n"
    found = re.fullmatch(r"(\S+:\d+): (\w+); driver: (\w+); .*", checks["cluster code"]["detail"])
    assert found is not None, checks["cluster code"]
    assert found[2] == code_hash(theirs)[:16]
    assert found[3] == code_hash(ours)[:16]
    assert checks["cluster clock"]["detail"].startswith(f"{found[1]}: at least 3,")
    assert "ahead" in checks["cluster clock"]["detail"]
