"""The record of the warm engine: a file of the user's cache that says where it runs and what it was started with."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from lake.cluster.code import code_files, short_hash
from lake.settings import Settings

NOT_COMPARED = (
    "spark.jars",
    "spark.driver.extraClassPath",
    "spark.driver.extraJavaOptions",
    "spark.driver.host",
    "spark.driver.bindAddress",
)
"""JARs are compared one by one; the Java options name the archive, which only makes a start quicker."""
ONLY_S3 = "spark.hadoop.fs.s3"
"""Settings that an engine may have besides those of a folder root."""


@dataclass(frozen=True)
class Made:
    """What an engine is made of, or what a verb would make one of. Holds no secret."""

    code: str
    python: str
    conf: dict[str, str]
    keys: str | None
    """Digest of the S3 keys, salted with the token; None where the root is a folder."""


@dataclass(frozen=True)
class Record:
    """One running engine."""

    pid: int
    created: float
    """When the process began, as the kernel says: another process may get the same number later."""
    port: int
    token: str
    made: Made

    def alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.created) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


def engine_folder(settings: Settings) -> Path:
    """Where record, log and code of the engine lie; for the user alone."""
    folder = settings.cache_dir / "engine"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    return folder


def record_path(settings: Settings) -> Path:
    return settings.cache_dir / "engine" / "engine.json"


def read_record(settings: Settings) -> Record | None:
    """The running engine; None when there is none, and the record of a dead one is removed."""
    path = record_path(settings)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        record = Record(**{**found, "made": Made(**found["made"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        path.unlink(missing_ok=True)
        return None
    if record.alive():
        return record
    path.unlink(missing_ok=True)
    return None


def write_record(settings: Settings, record: Record) -> None:
    """Write the record whole or not at all; only the user can read it."""
    path = record_path(settings)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        json.dump(asdict(record), stream)
    partial.replace(path)


def remove_record(settings: Settings, pid: int) -> None:
    """Remove the record of one process, and of no other."""
    record = read_record(settings)
    if record is not None and record.pid == pid:
        record_path(settings).unlink(missing_ok=True)


def made_of(settings: Settings, conf: Mapping[str, str], python: str, token: str) -> Made:
    """What a verb needs of an engine."""
    conf = {"spark.master": settings.spark.master, **conf}
    return Made(short_hash(code_files()), python, conf, keys_digest(settings, token))


def keys_digest(settings: Settings, token: str) -> str | None:
    """A digest by which equal S3 keys are known and that tells nothing about them."""
    if not settings.is_s3:
        return None
    keys = f"{settings.s3.access_key_id}\n{settings.s3.secret}"
    return hmac.new(token.encode(), keys.encode(), hashlib.sha256).hexdigest()


def misfit(there: Made, wanted: Made) -> str | None:
    """Why an engine is not what a verb would start; None when it is."""
    if there.code != wanted.code:
        return "it runs other code of the lake"
    if there.python != wanted.python:
        return "it runs another Python"
    missing = _jars(wanted) - _jars(there)
    if missing:
        return f"it lacks {len(missing)} JARs ({sorted(missing)[0]} …)"
    for key in sorted({*there.conf, *wanted.conf} - set(NOT_COMPARED)):
        ours, theirs = wanted.conf.get(key), there.conf.get(key)
        if ours != theirs and not (ours is None and key.startswith(ONLY_S3)):
            return f"its {key} is {theirs}, not {ours}"
    if wanted.keys is not None and there.keys != wanted.keys:
        return "it has other S3 keys"
    return None


def _jars(made: Made) -> set[str]:
    """Names of JARs: they carry the version, and the lake's own is part of the hash of the code."""
    return {path.rpartition("/")[2] for path in made.conf.get("spark.jars", "").split(",")}
