"""Whether a warm engine is what a verb would start, and what becomes of the records of dead ones."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lake.cluster.code import code_files, code_hash
from lake.engine import warm
from lake.engine.attach import why_not
from lake.engine.code import snapshot
from lake.engine.record import (
    Made,
    Record,
    began_of,
    engine_folder,
    keys_digest,
    misfit,
    read_record,
    record_path,
    remove_record,
    write_record,
)
from lake.errors import LakeError, PolicyRefused, SettingsError, UsageError
from lake.remote import place, require_safe_server
from lake.session import COMMITS
from lake.settings import Settings, load_settings

S3 = {"spark.hadoop.fs.s3a.endpoint": "http://a", "spark.hadoop.fs.s3.impl": "x"}
MADE = Made("c0de", "/bin/python", {"spark.jars": "/here/a-1.jar,/here/b-1.jar", "spark.x": "1", **COMMITS}, None)


def settings_of(cache: Path, root: str = "/some/lake", **environ: str) -> Settings:
    return load_settings(root, environ={"LAKE_CACHE": str(cache), "HOME": str(cache), **environ})


def with_conf(**conf: str) -> Made:
    return replace(MADE, conf={**MADE.conf, **{key.replace("_", "."): value for key, value in conf.items()}})


@pytest.mark.parametrize(
    ("there", "wanted", "said"),
    [
        (MADE, MADE, None),
        (replace(MADE, code="0ther"), MADE, "other code"),
        (replace(MADE, python="/usr/bin/python"), MADE, "another Python"),
        (with_conf(spark_x="2"), MADE, "its spark.x is 2, not 1"),
        (with_conf(spark_y="2"), MADE, "its spark.y is 2, not None"),
        (MADE, with_conf(spark_y="2"), "its spark.y is None, not 2"),
        (MADE, with_conf(spark_jars="/there/b-1.jar"), None),
        (MADE, with_conf(spark_jars="/there/b-2.jar"), "lacks 1 JARs (b-2.jar"),
        (MADE, with_conf(spark_driver_extraJavaOptions="-Xshare:auto"), None),
        (replace(MADE, conf={**MADE.conf, **S3}, keys="k"), MADE, None),
        (MADE, replace(MADE, conf={**MADE.conf, **S3}), "fs.s3.impl is None"),
        (replace(MADE, keys="k"), replace(MADE, keys="l"), "other S3 keys"),
        (MADE, replace(MADE, keys="l"), "other S3 keys"),
    ],
)
def test_an_engine_fits_when_it_is_what_would_be_started(there: Made, wanted: Made, said: str | None) -> None:
    found = misfit(there, wanted)
    assert found is None if said is None else said in (found or "")


def test_keys_are_told_apart_and_not_told(tmp_path: Path) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "a-secret"}
    one = keys_digest(settings_of(tmp_path, "s3://b/l", **keys), "token")
    assert one is not None and "secret" not in one
    assert one == keys_digest(settings_of(tmp_path, "s3://b/other", **keys), "token")
    assert one != keys_digest(settings_of(tmp_path, "s3://b/l", **keys), "another")
    assert one != keys_digest(settings_of(tmp_path, "s3://b/l", **{**keys, "AWS_SECRET_ACCESS_KEY": "b"}), "token")
    assert keys_digest(settings_of(tmp_path, "s3://b/l"), "token") not in (None, one), "who has no keys gets no one's"
    assert keys_digest(settings_of(tmp_path, **keys), "token") is None


def test_a_record_is_for_the_user_and_lives_as_long_as_its_process(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    engine_folder(settings)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        record = Record(process.pid, began_of(process.pid), 0.0, 4711, "token", MADE)
        write_record(settings, record)
        assert record_path(settings).stat().st_mode & 0o777 == 0o600
        assert read_record(settings) == record
        remove_record(settings, process.pid + 1)
        assert read_record(settings) == record, "another's record is nobody else's to remove"
        # The number of an ended process goes to another one, or to one of the machine's next start.
        boot, ticks = str(record.began).split()
        for other in (f"{boot} {int(ticks) - 1}", f"{boot[::-1]} {ticks}", None):
            write_record(settings, replace(record, began=other))
            assert read_record(settings) is None and not record_path(settings).exists()
        write_record(settings, record)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert read_record(settings) is None and not record_path(settings).exists(), "a zombie answers nobody"
        assert began_of(process.pid) is None
    for began in (record.began, None):
        write_record(settings, replace(record, began=began))
        assert read_record(settings) is None and not record_path(settings).exists()


def test_a_process_began_when_the_kernel_says_whatever_its_name() -> None:
    code = "open('/proc/self/comm', 'w').write('a) Z 1 (b'); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        began = str(began_of(process.pid))
        process.kill()
    assert began.split()[1].isdigit() and int(began.split()[1]) > int(str(began_of(os.getpid())).split()[1])


def test_another_machine_with_the_same_home_leaves_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(tmp_path)
    engine_folder(settings)
    record = Record(os.getpid(), began_of(os.getpid()), 0.0, 4711, "token", MADE)
    write_record(settings, record)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "another")
        elsewhere.setattr("lake.engine.record.began_of", lambda pid: None)
        assert read_record(settings) is None and warm.stop(settings) is None
    assert read_record(settings) == record


def test_a_cache_that_cannot_be_written_stops_no_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is by; what cannot go on says what to set."""
    settings = settings_of(tmp_path)
    engine_folder(settings)
    write_record(settings, Record(os.getpid(), None, 0.0, 4711, "token", MADE))

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as read_only:
        read_only.setattr(Path, "unlink", refuse)
        assert read_record(settings) is None and record_path(settings).exists()
    (tmp_path / "file").touch()
    settings = settings_of(tmp_path / "file")
    assert read_record(settings) is None
    for verb in (warm.start, warm.stop):
        with pytest.raises(LakeError, match=r"cannot be written \(Not a directory\): set LAKE_CACHE to"):
            verb(settings)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": 1, "made": {}}'])
def test_a_torn_record_is_none(tmp_path: Path, text: str) -> None:
    settings = settings_of(tmp_path)
    engine_folder(settings)
    record_path(settings).write_text(text)
    assert read_record(settings) is None and not record_path(settings).exists()


def test_a_snapshot_holds_the_code_and_works(tmp_path: Path) -> None:
    copy = snapshot(tmp_path)
    assert copy.name == f"code-{code_hash(code_files())[:16]}"
    assert snapshot(tmp_path) == copy and {path.name for path in tmp_path.iterdir()} == {copy.name}
    assert {path.name for path in (copy / "lake").rglob("errors.*.pyc")}, "compiled: each decoding child starts anew"
    said = subprocess.run(
        [sys.executable, "-P", "-c", "import lake.ingest.worker, lake.errors; print(lake.errors.__file__)"],
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.startswith(str(copy))


def test_a_server_must_have_the_lakes_log_stores() -> None:
    def server(conf: dict[str, str]) -> Any:
        return SimpleNamespace(conf=SimpleNamespace(getAll=conf))

    require_safe_server(server({**COMMITS, "spark.x": "1"}), "sc://there")
    for key in (key for key in COMMITS if "logStore" in key):
        for wrong in ({**COMMITS, key: "io.delta.storage.LocalLogStore"}, {**COMMITS, key: ""}):
            with pytest.raises(PolicyRefused, match=f"sc://there cannot be used: {key}"):
                require_safe_server(server(wrong), "sc://there")
        with pytest.raises(PolicyRefused, match=key):
            require_safe_server(server({k: v for k, v in COMMITS.items() if k != key}), "sc://there")
    with pytest.raises(PolicyRefused, match="performance"):
        require_safe_server(server({**COMMITS, "fs.s3a.performance.flags": "create"}), "sc://there")


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"LAKE_REMOTE": "sc://a:1/;token=t"}, "LAKE_REMOTE names another"),
        ({"LAKE_PROFILE": "cluster"}, "the profile's master is a cluster"),
    ],
)
def test_no_engine_is_started_that_no_verb_would_use(tmp_path: Path, environ: dict[str, str], said: str) -> None:
    settings = settings_of(tmp_path, **environ)
    assert said in (why_not(settings, Record(1, None, 0.0, 4711, "token", MADE)) or "")
    with pytest.raises(UsageError, match=said):
        warm.start(settings)
    assert not record_path(settings).parent.exists()


def test_remote_is_an_address_and_of_the_environment_alone(tmp_path: Path) -> None:
    assert settings_of(tmp_path).remote is None
    assert settings_of(tmp_path, LAKE_REMOTE="sc://a:1/;token=t").remote == "sc://a:1/;token=t"
    with pytest.raises(SettingsError, match="LAKE_REMOTE") as refused:
        settings_of(tmp_path, LAKE_REMOTE="spark://a:1/;token=t")
    assert "token=t" not in str(refused.value)


@pytest.mark.parametrize("address", ["sc://a", "sc://a-b.c:1", "sc://[::1]:1", "sc://127.0.0.1:1"])
def test_a_place_is_told_without_its_token(address: str) -> None:
    assert {place(address + rest) for rest in ("", "/", "/;use_ssl=true;token=t", "/;token=a/b", "/?t")} == {address}
    for rest in (";token=t", "?token=t", "#t", " token=t", "@t"):
        with pytest.raises(SettingsError, match="LAKE_REMOTE cannot be read: write sc://host:port/;token=…, "):
            place(address + rest)
