"""At work in a lake, or alone in it: what changes the past of the tables waits for all who work, and all wait for it.

Whoever works holds a lease and looks for one who is alone after it is written; who wants to be alone takes the lock and
looks for leases after that. So one of two always sees the other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from lake.store.lease import PREFIX as LEASES
from lake.store.lease import Holder, holder_of, lease
from lake.store.lock import WAIT, Patience, exclusive, held_by
from lake.store.objects import ObjectStore

ALONE = "erasure"
"""Name of the lock of who is alone."""


@contextlib.contextmanager
def at_work(
    store: ObjectStore,
    purpose: str,
    now: Callable[[], datetime],
    on_wait: Callable[[Holder], None] = lambda holder: None,
    wait: timedelta = WAIT,
) -> Iterator[None]:
    """Hold a lease while the block runs, which begins when nobody is alone in the lake.

    Raises:
        CommitConflict: somebody is for longer than ``wait``.
    """
    patience = Patience(on_wait, wait)
    while True:
        with lease(store, purpose, now):
            holder = held_by(store, ALONE, now())
            if holder is None:
                yield
                return
        patience.wait_for(holder)


@contextlib.contextmanager
def alone(
    store: ObjectStore,
    now: Callable[[], datetime],
    on_wait: Callable[[Holder], None] = lambda holder: None,
    wait: timedelta = WAIT,
) -> Iterator[None]:
    """Wait until nobody works in the lake any more, and keep others waiting while the block runs.

    Raises:
        CommitConflict: somebody works for longer than ``wait``.
    """
    patience = Patience(on_wait, wait)
    with exclusive(store, [ALONE], now, on_wait, wait):
        while holder := _at_work(store, now()):
            patience.wait_for(holder)
        with lease(store, ALONE, now):
            yield


def _at_work(store: ObjectStore, now: datetime) -> Holder | None:
    holders = (holder_of(store, entry, now) for entry in store.list(LEASES))
    return next((holder for holder in holders if holder is not None), None)
