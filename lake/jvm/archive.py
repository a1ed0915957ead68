"""A class-data archive of Spark's start: it halves the time until the first job (docs/decisions/0001).

    python -m lake.jvm.archive [--s3]       makes it when it is missing or stale; --s3 is that of a root on S3

The archive belongs to one JDK and one class path, whose files the JVM knows by size and time: its name carries all of
them, so a stale one is never found. Packages installed anew, or a new checkout, make it anew.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def archive_path(cache: Path, jars: Sequence[str]) -> Path:
    """Where the archive of this JDK and class path lies: ``spark-PLACE-STATE.jsa``, one at a time for a place."""
    from lake.jvm.resolve import pyspark_folder

    shipped = pyspark_folder() / "jars"
    place = [str(shipped), *sorted(jars)]
    files = [(path, path.stat()) for path in (*map(Path, jars), *sorted(shipped.iterdir()))]
    state = [java_version(), *(f"{path} {found.st_size} {found.st_mtime_ns}" for path, found in files)]
    return cache / "cds" / f"spark-{_digest(place)}-{_digest(state)}.jsa"


def _digest(facts: Sequence[str]) -> str:
    return hashlib.sha256("|".join(facts).encode()).hexdigest()[:16]


def archive_option(cache: Path, jars: Sequence[str]) -> list[str]:
    """JVM options that use the archive, or none when there is none."""
    if os.environ.get("LAKE_MAKE_ARCHIVE"):
        return [f"-XX:ArchiveClassesAtExit={os.environ['LAKE_MAKE_ARCHIVE']}"]
    path = archive_path(cache, jars)
    return [f"-XX:SharedArchiveFile={path}", "-Xshare:auto"] if path.exists() else []


def java_version() -> str:
    """What identifies the JDK: the text of its ``release`` file, found without starting it."""
    import shutil

    home = os.environ.get("JAVA_HOME")
    java = Path(home, "bin", "java") if home else Path(shutil.which("java") or "java")
    release = java.resolve().parent.parent / "release"
    return release.read_text(encoding="utf-8") if release.exists() else str(java.resolve())


def make(cache: Path, s3: bool) -> Path:
    """Run one small Spark job in a JVM of its own that leaves the archive when it ends."""
    from lake.jvm.resolve import jars
    from lake.jvm.store_jar import STORE_JAR

    path = archive_path(cache, [str(p) for p in jars(cache, s3)] + [str(STORE_JAR)])
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    subprocess.run(  # noqa: S603
        [sys.executable, "-c", _JOB, *(["--s3"] if s3 else [])],
        env={**os.environ, "LAKE_MAKE_ARCHIVE": str(partial)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
        timeout=300,
    )
    if partial.exists():
        partial.replace(path)
        for stale in set(path.parent.glob(f"{path.stem.rpartition('-')[0]}-*.jsa")) - {path}:
            stale.unlink(missing_ok=True)
    return path


_JOB = """
import sys
import tempfile
from lake.session import build_session
from lake.settings import load_settings
with tempfile.TemporaryDirectory() as root:
    spark = build_session(load_settings(root), "archive", s3="--s3" in sys.argv)
    spark.range(10).selectExpr("id", "id % 3 AS part").write.format("delta").save(root + "/t")
    spark.read.format("delta").load(root + "/t").groupBy("part").count().collect()
    spark.range(4).mapInArrow(lambda batches: batches, "id long").toArrow()
    jvm = spark.sparkContext._gateway.proc
    spark.stop()
# The archive is written when the JVM ends, which it does when its standard input closes.
jvm.stdin.close()
jvm.wait(120)
"""


def main() -> None:
    from lake.errors import LakeError, unwritable_cache
    from lake.settings import cache_dir

    try:
        made = make(cache_dir(), "--s3" in sys.argv[1:])
    except LakeError as error:
        sys.exit(f"lake: {error}")
    except OSError as error:
        sys.exit(f"lake: {unwritable_cache(cache_dir(), error)}")
    if not made.exists():
        print("lake: no class-data archive could be made: Spark starts more slowly", file=sys.stderr)


if __name__ == "__main__":
    main()
