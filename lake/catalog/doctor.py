"""What must be right for a lake to work, checked one by one. Runs on the driver; no check stops the others."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lake.catalog.create import is_lake
from lake.errors import LakeError
from lake.jvm.archive import archive_path
from lake.jvm.resolve import jars, setup_target, verify
from lake.jvm.store_jar import STORE_JAR
from lake.schema import BRONZE
from lake.session import COMMITS, unsafe_commits
from lake.settings import Settings
from lake.store.objects import ObjectStore, open_store
from lake.store.probe import PROBES, probe_conditional_put
from lake.tables import Tables

PACKAGES = ("pyspark", "delta-spark", "deltalake", "obstore", "minio", "duckdb", "pyarrow", "av", "pypdfium2")
PINNED = {"pyspark": "4.2.0", "delta-spark": "4.4.0"}
JAVA_VERSIONS = (17, 21)
MIN_FREE_BYTES = 1024**3


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str


def examine(settings: Settings, tables: Tables, store: ObjectStore) -> list[Check]:
    """All checks, in the order in which one builds on another."""
    return [
        _tried("python", _python),
        *_packages(),
        _tried("java", _java),
        _tried("ffmpeg", _ffmpeg),
        _tried("jars", lambda: _jars(settings)),
        _tried("log-store", lambda: _log_store(settings)),
        _tried("class-archive", lambda: _archive(settings)),
        _tried("decoder", lambda: _decoder(settings)),
        _tried("space", lambda: _space(settings)),
        *_stored(settings, tables, store),
    ]


def _stored(settings: Settings, tables: Tables, store: ObjectStore) -> Iterator[Check]:
    """The store, and what builds on it: not looked at where the store gives no answer."""
    # One try only: a store that answers now and then is a finding, and one that never does is told at once.
    impatient = open_store(settings.root, settings.s3.model_copy(update={"max_retries": 0}))
    works = _tried("store", lambda: _store(impatient))
    yield works
    if not works.ok:
        yield Check("commit-safety", False, "not probed: the store cannot be used")
        return
    yield _tried("commit-safety", lambda: probe_conditional_put(store))
    yield from _lake(tables, store)


def _tried(name: str, check: Callable[[], tuple[bool, str]]) -> Check:
    """One check; what it raises is its finding."""
    try:
        return Check(name, *check())
    except LakeError as error:
        return Check(name, False, " ".join(str(error).split()))
    except Exception as error:  # a check must never hide the others
        return Check(name, False, f"{type(error).__name__}: {' '.join(str(error).split())}")


def _python() -> tuple[bool, str]:
    return sys.version_info >= (3, 11), f"Python {platform.python_version()} at {sys.executable}"


def _packages() -> Iterator[Check]:
    for name in PACKAGES:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(name, False, "not installed: run `make setup`")
            continue
        wanted = PINNED.get(name, version)
        yield Check(name, version == wanted, version if version == wanted else f"{version}, {wanted} is needed")


def _java() -> tuple[bool, str]:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin" if home else None)
    if not java:
        where = f" in JAVA_HOME {home}" if home else ""
        return False, f"no Java{where}: install openjdk-17-jre-headless (`make setup` does when run by root)"
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    first = " ".join((said.stderr or said.stdout).splitlines()[:1])
    version = re.search(r'version "(\d+)', first)
    if said.returncode or not version or int(version[1]) not in JAVA_VERSIONS:
        return False, f"{first or 'no answer'} at {java}: Java 17 is needed (openjdk-17-jre-headless, JAVA_HOME)"
    return True, first


def _ffmpeg() -> tuple[bool, str]:
    found = shutil.which("ffmpeg")
    return found is not None, found or "no ffmpeg: install the package ffmpeg (`make setup` does when run by root)"


def _jars(settings: Settings) -> tuple[bool, str]:
    paths = jars(settings.cache_dir, settings.is_s3)
    wrong = verify(settings.cache_dir, settings.is_s3)
    if wrong:
        return False, f"{wrong[0]} is not what lake/jvm/jars.lock names: run `make {setup_target(settings.is_s3)}`"
    return True, f"{len(paths)} JARs as locked"


def _log_store(settings: Settings) -> tuple[bool, str]:
    """The settings without which Spark loses commits on S3 (DESIGN §5)."""
    wrong = unsafe_commits(COMMITS | settings.spark.conf)
    if wrong:
        return False, f"{wrong}; remove it from spark.conf of the profile"
    if not STORE_JAR.exists():
        return False, f"{STORE_JAR} is missing: it belongs to the repository"
    return True, f"{STORE_JAR.name} commits by conditional create"


def _archive(settings: Settings) -> tuple[bool, str]:
    paths = [str(path) for path in jars(settings.cache_dir, settings.is_s3)] + [str(STORE_JAR)]
    there = archive_path(settings.cache_dir, paths).exists()
    if there:
        return True, "Spark starts from it"
    return True, f"none for this Java: Spark starts slowly; `make {setup_target(settings.is_s3)}` makes one"


def _decoder(settings: Settings) -> tuple[bool, str]:
    """A picture through the limited child: that it starts, and reads."""
    from lake.media.sandbox import Call, Sandbox

    pixel = b"P5 1 1 255\n\x00"
    args = {
        "content_type": "image/x-portable-graymap",
        "media_kind": "image",
        "size_bytes": len(pixel),
        "data": pixel,
        "path": None,
        "limits": settings.limits.model_dump(),
    }
    with Sandbox(settings.limits) as sandbox:
        (outcome,) = sandbox.map([Call("doctor", "probe", args)])
    if outcome.failure is not None:
        return False, outcome.failure.message
    return True, f"reads in a child of at most {settings.limits.memory_bytes // 1024**2:,} MiB"


def _store(store: ObjectStore) -> tuple[bool, str]:
    key, content = f"{PROBES}/{uuid.uuid4().hex}", os.urandom(1024)
    store.put(key, content)
    try:
        right = store.get_range(key, 100, 200) == content[100:300]
    finally:
        store.delete(key)
    return right, f"{store.root} writes, reads and deletes" if right else f"{store.root} gave other bytes back"


def _space(settings: Settings) -> tuple[bool, str]:
    place = Path(settings.cache_dir if settings.is_s3 else settings.root)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    return free >= MIN_FREE_BYTES, f"{free / 1e9:,.1f} GB free at {place}"


def _lake(tables: Tables, store: ObjectStore) -> Iterator[Check]:
    check = _tried("lake", lambda: (True, "is there") if is_lake(store) else (True, "none yet: `lake init` creates it"))
    yield check
    if not check.ok or check.detail != "is there":
        return
    for name in BRONZE:
        yield _tried(f"table {name}", lambda name=name: _table(tables, name))  # type: ignore[misc]


def _table(tables: Tables, name: str) -> tuple[bool, str]:
    version = tables.open(name).version()
    columns = set(tables.dataset(name).schema.names)
    missing = [column for column in BRONZE[name].names if column not in columns]
    if missing:
        return False, f"lacks the column {missing[0]}: made by another version of the lake"
    return True, f"version {version}"
