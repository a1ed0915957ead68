"""``lake doctor`` as a command: one finding for each thing that is wrong; ``init`` refuses by name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lake.errors import PolicyRefused
from lake.jvm.resolve import folder, jars
from lake.session import build_session
from lake.settings import cache_dir, find_conf, load_settings
from lake.store.objects import open_store
from lake.store.probe import probe_conditional_put
from tests.support.minio import MinioServer
from tests.support.proxy import S3Proxy

LAKE = Path(sys.executable).with_name("lake")
ALWAYS = {"python", "pyspark", "java", "ffmpeg", "jars", "log-store", "decoder", "space", "store", "commit-safety"}
OK, FINDINGS, REFUSED = 0, 3, 4


def lake(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [LAKE, *arguments], env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=240
    )
    assert "Traceback" not in done.stderr
    if "AWS_SECRET_ACCESS_KEY" in environment:
        assert environment["AWS_SECRET_ACCESS_KEY"] not in done.stdout + done.stderr
    return done


def checks_of(done: subprocess.CompletedProcess[str], status: int) -> dict[str, dict[str, Any]]:
    """The checks of ``doctor --json`` by name."""
    assert done.returncode == status, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["ok"] is (status == OK)
    for check in document["checks"]:
        assert set(check) == {"name", "ok", "detail"}
        assert check["detail"]
        assert "\n" not in check["detail"]
    return {check["name"]: check for check in document["checks"]}


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {name: check["detail"] for name, check in checks_of(done, FINDINGS).items() if not check["ok"]}


@pytest.fixture
def ignorant(minio: MinioServer) -> Iterator[S3Proxy]:
    """A store that does not know ``If-None-Match``."""
    with S3Proxy(minio, ignore_conditions=True) as proxy:
        yield proxy


@pytest.fixture
def other_conf(tmp_path: Path) -> Path:
    """The project's settings with a profile ``fast`` that loses commits."""
    copied = Path(shutil.copytree(find_conf({}), tmp_path / "conf"))
    fast = {"spark": {"conf": {"spark.hadoop.fs.s3a.performance.flags": "create"}}}
    (copied / "profiles" / "fast.yaml").write_text(yaml.safe_dump(fast))
    return copied


def test_a_folder_is_well_before_and_after_init(tmp_path: Path) -> None:
    root = str(tmp_path / "lake")
    before = checks_of(lake({}, "--root", root, "doctor", "--json"), OK)
    assert before.keys() >= ALWAYS
    assert "lake init" in before["lake"]["detail"]
    assert lake({}, "--root", root, "init").returncode == OK
    after = checks_of(lake({}, "--root", root, "doctor", "--json"), OK)
    assert after.keys() >= ALWAYS | {"table arrivals", "table blobs", "table assets", "table runs"}
    assert not list((tmp_path / "lake" / ".probe").iterdir()), "the probe left something"
    shutil.rmtree(tmp_path / "lake" / "tables" / "runs")
    assert findings(lake({}, "--root", root, "doctor", "--json")).keys() == {"table runs"}
    shown = lake({}, "--root", root, "doctor")
    assert shown.returncode == FINDINGS
    assert [line.split()[1:3] for line in shown.stdout.splitlines() if line.startswith("FAIL")] == [["table", "runs"]]


def test_minio_is_well_and_nothing_is_left_there(minio: MinioServer, bucket: str) -> None:
    root = f"s3://{bucket}/city"
    assert checks_of(lake(minio.environ(), "--root", root, "doctor", "--json"), OK).keys() >= ALWAYS
    created = json.loads(lake(minio.environ(), "--root", root, "init", "--json").stdout)
    assert created["checks"][1] == {"name": "commit-safety", "ok": True, "detail": created["checks"][1]["detail"]}
    after = checks_of(lake(minio.environ(), "--root", root, "doctor", "--json"), OK)
    assert after["commit-safety"]["ok"]
    assert "table arrivals" in after
    assert not list(open_store(root, minio.settings).list(".probe"))


def test_no_java_and_no_ffmpeg(tmp_path: Path) -> None:
    found = findings(lake({"PATH": str(tmp_path), "JAVA_HOME": ""}, "--root", str(tmp_path / "l"), "doctor", "--json"))
    assert found.keys() == {"java", "ffmpeg"}
    assert "openjdk-17" in found["java"]


def test_a_java_that_is_too_old(tmp_path: Path) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    found = findings(lake({"JAVA_HOME": str(tmp_path)}, "--root", str(tmp_path / "l"), "doctor", "--json"))
    assert found.keys() == {"java"}
    assert "11.0.2" in found["java"]
    assert "Java 17" in found["java"]


def test_damaged_and_missing_jars(tmp_path: Path) -> None:
    environment = {"LAKE_CACHE": str(tmp_path)}
    command = ("--root", str(tmp_path / "lake"), "doctor", "--json")
    assert "make setup" in findings(lake(environment, *command))["jars"]
    folder(tmp_path).mkdir()
    for path in jars(cache_dir(), s3=False):
        shutil.copy(path, folder(tmp_path) / path.name)
    assert checks_of(lake(environment, *command), OK)["jars"]["ok"]
    (victim,) = folder(tmp_path).glob("delta-storage-*.jar")
    victim.write_bytes(victim.read_bytes()[:-1])
    found = findings(lake(environment, *command))
    assert found.keys() == {"jars"}
    assert victim.name in found["jars"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "endpoint"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong-wrong-wrong"}, "keys"),
        ({"AWS_ACCESS_KEY_ID": "nobody-knows-me"}, "keys"),
    ],
)
def test_a_store_that_cannot_be_used(minio: MinioServer, bucket: str, changed: dict[str, str], said: str) -> None:
    done = lake({**minio.environ(), **changed}, "--root", f"s3://{bucket}/city", "doctor", "--json")
    found = findings(done)
    assert found.keys() == {"store", "commit-safety"}
    assert said in found["store"]


def test_a_bucket_that_is_not_there(minio: MinioServer) -> None:
    found = findings(lake(minio.environ(), "--root", "s3://nobody-made-this/city", "doctor", "--json"))
    assert "no bucket" in found["store"]
    assert "init" in found["store"]


def test_a_store_that_ignores_conditions_is_refused_by_name(ignorant: S3Proxy, minio: MinioServer, bucket: str) -> None:
    root = f"s3://{bucket}/city"
    found = findings(lake(ignorant.environ(), "--root", root, "doctor", "--json"))
    assert found.keys() == {"commit-safety"}
    assert "If-None-Match" in found["commit-safety"]
    refused = lake(ignorant.environ(), "--root", root, "init")
    assert refused.returncode == REFUSED
    assert len(refused.stderr.splitlines()) == 1
    assert "If-None-Match" in refused.stderr
    assert not list(open_store(root, minio.settings).list("")), "something was created where nothing may be"
    with pytest.raises(PolicyRefused, match="If-None-Match"):
        build_session(load_settings(root, environ={**os.environ, **ignorant.environ()}), "test")


def test_the_proxy_alone_is_no_fault(minio: MinioServer, bucket: str) -> None:
    """The control of the test above: through the same proxy with conditions, the store passes."""
    with S3Proxy(minio) as proxy:
        settings = load_settings(f"s3://{bucket}", environ={**os.environ, **proxy.environ()})
        ok, detail = probe_conditional_put(open_store(settings.root, settings.s3))
    assert ok, detail
    assert len(proxy.puts) > 8


def test_a_profile_that_loses_commits_is_refused_by_name(
    minio: MinioServer, bucket: str, other_conf: Path, tmp_path: Path
) -> None:
    environment = {**minio.environ(), "LAKE_CONF": str(other_conf), "LAKE_PROFILE": "fast"}
    root = f"s3://{bucket}/city"
    found = findings(lake(environment, "--root", root, "doctor", "--json"))
    assert found.keys() == {"log-store"}
    assert "performance.flags" in found["log-store"]
    for arguments in (["--root", root, "init"], ["--root", root, "init", "--dry-run"]):
        refused = lake(environment, *arguments)
        assert refused.returncode == REFUSED
        assert len(refused.stderr.splitlines()) == 1
        assert "performance.flags" in refused.stderr
    assert not list(open_store(root, minio.settings).list(""))
