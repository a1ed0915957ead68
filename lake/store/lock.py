"""Work that must not be done twice at once waits for its turn: a lock in the store, with the lease's rules.

A lock is a numbered object that is created only if absent. Whoever finds the highest number dead creates the next one;
whoever created one looks again, and gives way to a higher number. A holder on this machine whose process is gone is
dead at once, so that a run which was killed can be started again at once; one elsewhere after some minutes of silence.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from lake.errors import CommitConflict, LakeError, NotFound
from lake.store.lease import CLOCKS_DIFFER, DEAD_AFTER, renewed
from lake.store.objects import ObjectInfo, ObjectStore

PREFIX = "locks"
WAIT = timedelta(hours=1)
LOOK_AGAIN_S = 0.5


@dataclass(frozen=True)
class Holder:
    """Who holds a lock."""

    what: str
    host: str
    pid: int
    since_utc: str

    def __str__(self) -> str:
        return f"{self.what} by process {self.pid} on {self.host}, since {self.since_utc[:19]} UTC"


@contextlib.contextmanager
def exclusive(
    store: ObjectStore,
    names: Sequence[str],
    now: Callable[[], datetime],
    on_wait: Callable[[Holder], None] = lambda holder: None,
    wait: timedelta = WAIT,
) -> Iterator[None]:
    """Hold the locks of these names while the block runs; ``on_wait`` is told once of each holder that is waited for.

    Names are taken in their order by all, so that two runs never wait for each other.

    Raises:
        CommitConflict: another run holds one of them for longer than ``wait``.
    """
    with contextlib.ExitStack() as held:
        for name in sorted(set(names)):
            held.enter_context(_one(store, name, now, on_wait, wait))
        yield


@contextlib.contextmanager
def _one(
    store: ObjectStore, name: str, now: Callable[[], datetime], on_wait: Callable[[Holder], None], wait: timedelta
) -> Iterator[None]:
    folder = f"{PREFIX}/{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    text = json.dumps(
        {"what": name, "host": socket.gethostname(), "pid": os.getpid(), "since_utc": now().isoformat()}
    ).encode()
    key = _taken(store, folder, text, now, on_wait, wait)
    try:
        with renewed(store, key, text):
            yield
    finally:
        with contextlib.suppress(LakeError):
            # Those of the dead below it first: as long as one is there, the next number is higher than it.
            for entry in store.list(folder):
                if entry.key < key:
                    store.delete(entry.key)
            store.delete(key)


def _taken(
    store: ObjectStore,
    folder: str,
    text: bytes,
    now: Callable[[], datetime],
    on_wait: Callable[[Holder], None],
    wait: timedelta,
) -> str:
    deadline = time.monotonic() + wait.total_seconds()
    told: Holder | None = None
    while True:
        highest = max(store.list(folder), key=lambda entry: entry.key, default=None)
        holder = _holder(store, highest, now()) if highest else None
        if holder is None:
            number = int(highest.key.rsplit("/", 1)[1]) + 1 if highest else 1
            key = f"{folder}/{number:012}"
            if store.put_if_absent(key, text):
                if max(entry.key for entry in store.list(folder)) == key:
                    return key
                store.delete(key)
            continue
        if holder != told:
            told = holder
            on_wait(holder)
        if time.monotonic() > deadline:
            raise CommitConflict(f"waited {wait.total_seconds():,.0f} s for {holder}; run the command again later")
        time.sleep(LOOK_AGAIN_S)


def _holder(store: ObjectStore, entry: ObjectInfo, now: datetime) -> Holder | None:
    """Who holds a lock; None when he is dead, or has just given it back."""
    renewed = entry.modified_at_utc
    if renewed is not None and now - renewed > DEAD_AFTER + CLOCKS_DIFFER:
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
