"""The record of the warm engine: a file of the user's cache that says where it runs and what it was started with.

Each machine has a folder of its own there: one home may be that of many.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from lake.cluster.code import code_files, short_hash
from lake.errors import unwritable_cache
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
    began: str | None
    """``began_of`` the process: another one may get the same number later."""
    created: float
    """When it began by the clock of that moment, in seconds since 1970: told, never compared."""
    port: int
    token: str
    made: Made

    def alive(self) -> bool:
        began = began_of(self.pid)
        return began is not None and began == self.began


def began_of(pid: int) -> str | None:
    """When a process began: which start of the machine, and ticks since then, which no change of a clock touches.

    None where it runs no more.
    """
    try:
        # proc(5): what follows the name, which may hold anything, is the state, and 19 fields later the start.
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return None if state == "Z" else f"{boot} {fields[18]}"


def engine_folder(settings: Settings) -> Path:
    """Where record, log and code of this machine's engine lie; for the user alone. ``LakeError`` where it cannot."""
    folder = record_path(settings).parent
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
    except OSError as error:
        raise unwritable_cache(folder, error) from error
    return folder


def record_path(settings: Settings) -> Path:
    return settings.cache_dir / "engine" / socket.gethostname() / "engine.json"


def read_record(settings: Settings) -> Record | None:
    """The running engine; None when there is none or its record cannot be read. That of a dead one is removed."""
    path = record_path(settings)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        record = Record(**{**found, "made": Made(**found["made"])})
    except OSError:
        return None
    except (ValueError, TypeError, KeyError):
        record = None
    if record is not None and record.alive():
        return record
    with suppress(OSError):  # a home that cannot be written stops no verb
        path.unlink()
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
        with suppress(OSError):
            record_path(settings).unlink()


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
