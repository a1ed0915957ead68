"""Leases: who is at work in a lake, so that ``store gc`` takes nothing from under a running reader or writer.

A lease is a small object that its holder writes anew every minute; one that was not for ten minutes is dead. It says
since when its holder works: what was there at that time, or came after it, is left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lake.errors import IntegrityError, LakeError, NotFound
from lake.store.objects import ObjectInfo, ObjectStore

PREFIX = "leases"
RENEW_S = 60.0
DEAD_AFTER = timedelta(minutes=10)
CLOCKS_DIFFER = timedelta(minutes=5)
"""How far the clocks of two machines may be apart."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lease or a lock."""

    what: str
    host: str
    pid: int
    since_utc: str

    def __str__(self) -> str:
        return f"{self.what} by process {self.pid} on {self.host}, since {self.since_utc[:19]} UTC"


@contextlib.contextmanager
def lease(store: ObjectStore, purpose: str, now: Callable[[], datetime], *, renew_s: float = RENEW_S) -> Iterator[None]:
    """Hold a lease while the block runs. A store that fails meanwhile does not end the holder: its work will."""
    key = f"{PREFIX}/{uuid.uuid4().hex}.json"
    text = json.dumps(
        {"what": purpose, "host": socket.gethostname(), "pid": os.getpid(), "since_utc": now().isoformat()}
    ).encode()
    store.put(key, text)
    try:
        with renewed(store, key, text, renew_s):
            yield
    finally:
        with contextlib.suppress(LakeError):
            store.delete(key)


@contextlib.contextmanager
def renewed(store: ObjectStore, key: str, text: bytes, renew_s: float = RENEW_S) -> Iterator[None]:
    """Write an object anew again and again while the block runs, so that its time tells that its writer lives."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(renew_s):
            with contextlib.suppress(LakeError):
                store.put(key, text)

    thread = threading.Thread(target=renew, name="lake-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def oldest_lease(store: ObjectStore, now: datetime) -> datetime | None:
    """Since when the longest of all live holders works; None when nobody does."""
    starts = [_since(store, entry.key) for entry in store.list(PREFIX) if not _is_dead(entry.modified_at_utc, now)]
    return min((start for start in starts if start is not None), default=None)


def horizon(store: ObjectStore, now: datetime, hold: timedelta) -> datetime:
    """What was there at this time, or came after it, may be in use: ``hold`` ago, or since the oldest live lease."""
    oldest = oldest_lease(store, now)
    return min(now - hold, oldest) if oldest else now - hold


def dead_leases(store: ObjectStore, now: datetime) -> list[str]:
    """Keys of leases whose holders died."""
    return [entry.key for entry in store.list(PREFIX) if _is_dead(entry.modified_at_utc, now)]


def _is_dead(renewed: datetime | None, now: datetime) -> bool:
    return renewed is not None and now - renewed > DEAD_AFTER + CLOCKS_DIFFER


def _since(store: ObjectStore, key: str) -> datetime | None:
    try:
        since = datetime.fromisoformat(json.loads(store.get(key))["since_utc"])
    except NotFound:  # given back since it was listed
        return None
    except (ValueError, LookupError, TypeError) as error:
        raise IntegrityError(f"{store.root}/{key} is no lease: delete it when nobody works in the lake") from error
    return (since if since.tzinfo else since.replace(tzinfo=UTC)) - CLOCKS_DIFFER


def holder_of(store: ObjectStore, entry: ObjectInfo, now: datetime) -> Holder | None:
    """Who holds a lease or a lock; None when he is dead, or has just given it back."""
    if _is_dead(entry.modified_at_utc, now):
        return None
    try:
        said = json.loads(store.get(entry.key))
        holder = Holder(str(said["what"]), str(said["host"]), int(said["pid"]), str(said["since_utc"]))
    except NotFound:
        return None
    except (ValueError, LookupError, TypeError):
        return Holder("something unreadable", "?", 0, "?")
    return holder if holder.host != socket.gethostname() or _alive(holder.pid) else None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
