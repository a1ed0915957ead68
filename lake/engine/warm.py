"""Start, look at and stop the warm engine. Runs on the driver; Spark itself runs in ``lake.engine.server``."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from lake.engine.attach import never_used, url, why_not
from lake.engine.record import Record, engine_folder, read_record, remove_record
from lake.errors import LakeError, UsageError
from lake.remote import version_of
from lake.session import TOKEN
from lake.settings import Settings

SOURCES = Path(__file__).resolve().parents[2]
START_S = 180.0
STOP_S = 30.0


@dataclass(frozen=True)
class Standing:
    """How the warm engine is."""

    running: bool
    pid: int | None = None
    port: int | None = None
    started_at_utc: datetime | None = None
    uptime_s: float | None = None
    answers: bool = False
    fits: bool = False
    """Whether a verb with today's settings and code uses it."""
    detail: str = "no engine runs: verbs start Spark themselves"


def standing(settings: Settings) -> Standing:
    """Look for the engine and ask it."""
    record = read_record(settings)
    if record is None:
        return Standing(False)
    version = version_of(url(record))
    why = why_not(settings, record) if version else "it does not answer"
    return Standing(
        True,
        record.pid,
        record.port,
        datetime.fromtimestamp(record.created, UTC),
        round(time.time() - record.created, 1),
        version is not None,
        why is None,
        f"Spark {version}; verbs use it" if why is None else f"verbs do not use it: {why}",
    )


def start(settings: Settings) -> Standing:
    """Start the engine, unless one that fits runs already, and wait until it answers.

    Raises:
        UsageError: an engine runs that does not fit, or no verb would use one with these settings.
        LakeError: it did not start; says what it said.
    """
    never = never_used(settings)
    if never is not None:
        raise UsageError(f"no verb would use the engine, {never}")
    with _alone(settings):
        now = standing(settings)
        if now.running and not now.fits:
            raise UsageError(f"an engine runs already (pid {now.pid}), and {now.detail}; `lake engine stop` ends it")
        if not now.running:
            _launch(settings)
            now = standing(settings)
    return now


def stop(settings: Settings) -> int | None:
    """End the engine by its process id, and return that; None when none runs."""
    with _alone(settings):
        record = read_record(settings)
        if record is None:
            return None
        _end(record)
        remove_record(settings, record.pid)
        return record.pid


def _launch(settings: Settings) -> None:
    folder = engine_folder(settings)
    log = folder / "engine.log"
    log.unlink(missing_ok=True)
    for old in folder.glob("code-*"):
        shutil.rmtree(old)
    command = [sys.executable, "-P", "-m", "lake.engine.server", settings.root, settings.profile]
    # Keys and token go by the environment, which only the user can read; an engine belongs to no terminal.
    environment = {**os.environ, TOKEN: secrets.token_hex(32), "LAKE_CONF": str(settings.conf_dir)}
    environment["LAKE_CACHE"] = str(settings.cache_dir.absolute())
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(SOURCES), os.environ.get("PYTHONPATH"))))
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as said:
        process = subprocess.Popen(  # noqa: S603
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_S
    try:
        while (record := read_record(settings)) is None or record.pid != process.pid:
            if process.poll() is not None:
                raise LakeError(f"the engine did not start: {_why(log)} (its log is {log})")
            if time.monotonic() > deadline:
                raise LakeError(f"the engine did not start within {START_S:g} s: see {log}")
            time.sleep(0.1)
    except BaseException:
        process.terminate()
        raise


def _why(log: Path) -> str:
    """The last line of a log that the lake wrote, else its last: the JVM may say something after it."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    ours = [line for line in lines if line.startswith("lake: ")] or lines
    return ours[-1].removeprefix("lake: ")[:500] if ours else "it said nothing"


def _end(record: Record) -> None:
    """SIGTERM, and after a while SIGKILL, to the process of the record and those that it started."""
    try:
        process = psutil.Process(record.pid)
        ours = [process, *process.children(recursive=True)]
        process.terminate()
    except psutil.NoSuchProcess:
        return
    _, left = psutil.wait_procs(ours, STOP_S)
    for each in left:
        each.kill()
    psutil.wait_procs(left, STOP_S)


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """One start or stop at a time."""
    with (engine_folder(settings) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
