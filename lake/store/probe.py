"""Does a store let exactly one of several writers create a key? Only there may several drivers commit (DESIGN §5)."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor, wait

from lake.errors import PolicyRefused
from lake.store.objects import ObjectStore

ROUNDS = 8
WRITERS = 4
"""Writers released together in a round. A store that looks first and writes then passes some rounds, not all."""
PROBES = ".probe"
_RELEASE_S = 60.0


def probe_conditional_put(store: ObjectStore) -> tuple[bool, str]:
    """Race conditional creates of fresh keys; whether each had one winner, and what was seen. Runs on the driver.

    Raises:
        StoreError: the store cannot be used at all.
    """
    with ThreadPoolExecutor(WRITERS, thread_name_prefix="probe") as pool:
        for number in range(1, ROUNDS + 1):
            wrong = _round(store, pool)
            if wrong:
                return False, f"{wrong} (round {number} of {ROUNDS}): several writers would lose commits"
    return True, f"{ROUNDS} rounds of {WRITERS} simultaneous creates: exactly one winner each"


def require_safe_commits(store: ObjectStore) -> str:
    """What the probe saw; ``PolicyRefused`` where a store would let two writers win one commit."""
    ok, detail = probe_conditional_put(store)
    if not ok:
        raise PolicyRefused(f"{store.root} cannot hold a lake: {detail}; use a store that honours If-None-Match")
    return detail


def _round(store: ObjectStore, pool: ThreadPoolExecutor) -> str | None:
    """One race for one key; what was wrong with it."""
    key = f"{PROBES}/{uuid.uuid4().hex}"
    contents = [f"{key} writer {number}".encode() for number in range(WRITERS)]
    together = threading.Barrier(WRITERS)

    def create(content: bytes) -> bool:
        together.wait(_RELEASE_S)
        return store.put_if_absent(key, content)

    try:
        writers = [pool.submit(create, content) for content in contents]
        wait(writers)  # all of them, so that none writes after the key is deleted
        won = [writer.result() for writer in writers]
        if sum(won) != 1:
            return f"the store ignores If-None-Match: {sum(won)} of {WRITERS} creates of one key succeeded"
        if store.put_if_absent(key, b"late"):
            return "the store ignores If-None-Match: a create replaced an object"
        if store.get(key) != contents[won.index(True)]:
            return "the object holds other bytes than its winner wrote"
    finally:
        store.delete(key)
    return None
