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
from datetime import datetime, timedelta

from lake.errors import CommitConflict, LakeError
from lake.store.lease import Holder, holder_of, renewed
from lake.store.objects import ObjectStore

PREFIX = "locks"
WAIT = timedelta(hours=1)
LOOK_AGAIN_S = 0.5


class Patience:
    """Waits for whoever is in the way: tells of each once, looks again after a moment, gives up at a limit."""

    def __init__(self, on_wait: Callable[[Holder], None], wait: timedelta) -> None:
        self._on_wait = on_wait
        self._wait = wait
        self._deadline = time.monotonic() + wait.total_seconds()
        self._told: set[Holder] = set()

    def wait_for(self, holder: Holder) -> None:
        """Wait for a moment; ``CommitConflict`` names the holder when the limit is met."""
        if holder not in self._told:
            self._told.add(holder)
            self._on_wait(holder)
        if time.monotonic() > self._deadline:
            limit_s = self._wait.total_seconds()
            raise CommitConflict(f"waited {limit_s:,.0f} s for {holder}; run the command again later")
        time.sleep(LOOK_AGAIN_S)


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


def held_by(store: ObjectStore, name: str, now: datetime) -> Holder | None:
    """Who holds the lock of a name; None when nobody does."""
    highest = max(store.list(_folder(name)), key=lambda entry: entry.key, default=None)
    return holder_of(store, highest, now) if highest else None


def _folder(name: str) -> str:
    return f"{PREFIX}/{hashlib.sha256(name.encode()).hexdigest()[:32]}"


@contextlib.contextmanager
def _one(
    store: ObjectStore, name: str, now: Callable[[], datetime], on_wait: Callable[[Holder], None], wait: timedelta
) -> Iterator[None]:
    folder = _folder(name)
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
    patience = Patience(on_wait, wait)
    while True:
        highest = max(store.list(folder), key=lambda entry: entry.key, default=None)
        holder = holder_of(store, highest, now()) if highest else None
        if holder is None:
            number = int(highest.key.rsplit("/", 1)[1]) + 1 if highest else 1
            key = f"{folder}/{number:012}"
            if store.put_if_absent(key, text):
                if max(entry.key for entry in store.list(folder)) == key:
                    return key
                store.delete(key)
            continue
        patience.wait_for(holder)
