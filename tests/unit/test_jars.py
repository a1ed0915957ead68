"""The jar in the repository is built from the source beside it; JARs are those that the lock names, or it is told."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lake.errors import SettingsError
from lake.jvm.archive import archive_path
from lake.jvm.build import build
from lake.jvm.resolve import fetch, folder, jars, read_lock, verify, wanted
from lake.jvm.store_jar import STORE_JAR
from lake.settings import cache_dir


@pytest.fixture
def copied_cache(tmp_path: Path) -> Path:
    """A cache of its own with the locked JARs of both sets."""
    folder(tmp_path).mkdir()
    for path in jars(cache_dir(), s3=True):
        (folder(tmp_path) / path.name).symlink_to(path)
    return tmp_path


def test_the_jar_is_what_its_source_gives(tmp_path: Path) -> None:
    built = build(tmp_path / "built.jar", cache_dir())
    assert built.read_bytes() == STORE_JAR.read_bytes(), "run `python -m lake.jvm.build` and commit the jar"


def test_every_line_of_the_lock_is_whole() -> None:
    locked = read_lock()
    assert {jar.set_name for jar in locked} == {"delta", "s3"}
    for jar in locked:
        assert re.fullmatch(r"[\w.-]+:[\w.-]+:[\w.-]+", jar.coordinate), jar
        assert re.fullmatch(r"[0-9a-f]{64}", jar.sha256), jar
    names = [jar.file_name for jar in locked]
    assert len(set(names)) == len(names)
    artifacts = [jar.coordinate.rsplit(":", 1)[0] for jar in locked]
    assert len(set(artifacts)) == len(artifacts), "two versions of one artifact"
    assert "bundle" not in {artifact.split(":")[1] for artifact in artifacts}


def test_a_folder_root_needs_the_delta_set_alone(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text("# a comment\ndelta a.b:one:1.0 00  # another\n\ns3 c.d:two:2.0 11\n")
    (one, two) = read_lock(lock)
    assert (one.set_name, one.coordinate, one.sha256, one.file_name) == ("delta", "a.b:one:1.0", "00", "one-1.0.jar")
    assert (two.set_name, two.file_name) == ("s3", "two-2.0.jar")
    small, large = wanted(s3=False), wanted(s3=True)
    assert {jar.set_name for jar in small} == {"delta"}
    assert small == [jar for jar in large if jar.set_name == "delta"]
    assert len(large) > len(small)
    assert "hadoop-aws" in {jar.coordinate.split(":")[1] for jar in large}


def test_jars_as_locked_need_nothing(copied_cache: Path) -> None:
    assert verify(copied_cache, s3=True) == []
    assert fetch(copied_cache, s3=True) == 0


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_jar_is_found(copied_cache: Path, damage: str) -> None:
    victim = next(path for path in jars(copied_cache, s3=True) if path.name.startswith("delta-storage"))
    content = bytearray(victim.read_bytes())
    victim.unlink()
    if damage == "cut":
        victim.write_bytes(content[:-1])
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
    assert verify(copied_cache, s3=False) == [victim.name]
    assert verify(copied_cache, s3=True) == [victim.name]


@pytest.mark.parametrize(("s3", "how"), [(False, "make setup"), (True, "make setup-s3")])
def test_a_missing_jar_is_one_line_that_says_what_to_run(tmp_path: Path, s3: bool, how: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(how)) as raised:
        jars(tmp_path, s3)
    assert "\n" not in str(raised.value)
    assert str(folder(tmp_path)) in str(raised.value)


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, "-P", "-m", "lake.jvm.resolve"],
        env={**os.environ, "LAKE_CACHE": str(tmp_path / "file")},
        capture_output=True,
        text=True,
    )
    told = f"lake: {tmp_path}/file/jars cannot be written (Not a directory): set LAKE_CACHE to a folder that can\n"
    assert (done.returncode, done.stderr) == (1, told)


def test_hashes_of_the_lock_are_those_of_the_files() -> None:
    for jar, path in zip(wanted(s3=True), jars(cache_dir(), s3=True), strict=True):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256


def test_the_archive_is_that_of_the_very_files(copied_cache: Path) -> None:
    """The JVM refuses an archive of a class path whose files are newer, so such a one must not be found."""
    own = copied_cache / "own.jar"
    own.write_bytes(STORE_JAR.read_bytes())
    os.utime(own, (1_000_000, 1_000_000))
    before = archive_path(copied_cache, [str(own)])
    assert archive_path(copied_cache, [str(own)]) == before
    os.utime(own, (2_000_000, 2_000_000))
    newer = archive_path(copied_cache, [str(own)])
    assert newer != before
    assert newer.name.rpartition("-")[0] == before.name.rpartition("-")[0], "it replaces that one"
