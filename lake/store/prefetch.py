"""Answers fetched ahead, in order: as many requests at once as the reader has to wait for, within a bound in bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol, TypeVar

from lake.pressure import PRESSURE

MAX_AHEAD_BYTES = 64 * 1024 * 1024
"""Asked for and not yet let go by the reader: on their way, waiting, and the answer that is being read."""
MAX_DEPTH = 32
"""Requests at once, however small they are: each takes a thread and a connection."""
MIN_DEPTH = 2
"""One is read while the next is on its way."""


class Sized(Protocol):
    """A request that says how many bytes its answer has."""

    @property
    def length(self) -> int: ...


class Pace(NamedTuple):
    """How many requests are had at once, and how often in a row all of them were answered before they were needed."""

    depth: int = MIN_DEPTH
    calm: int = 0


Request = TypeVar("Request", bound=Sized)
Answer = TypeVar("Answer")


def ahead(
    fetch: Callable[[Request], Answer],
    requests: Iterable[Request],
    *,
    max_bytes: int = MAX_AHEAD_BYTES,
    bound: Callable[[int], int] = PRESSURE.bound,
) -> Generator[tuple[Request, Answer], None, None]:
    """Each request with its answer, in the order of the requests; ``fetch`` runs in threads of this call.

    The reader lets an answer go by asking for the next one. A request larger than ``max_bytes`` is fetched alone.
    ``bound`` says how much of ``max_bytes`` there is at the moment: less while memory is short.
    What ``fetch`` raises is raised here, in its turn. Ends its threads when it ends or is closed.
    """
    left = iter(requests)
    following = next(left, None)
    waiting: deque[tuple[Request, Future[Answer]]] = deque()
    held_bytes, pace = 0, Pace()
    pool = ThreadPoolExecutor(MAX_DEPTH, "lake-prefetch")
    try:
        while following is not None or waiting:
            most_bytes = bound(max_bytes)
            while following is not None and _fits(len(waiting), held_bytes + following.length, pace.depth, most_bytes):
                waiting.append((following, pool.submit(fetch, following)))
                held_bytes += following.length
                following = next(left, None)
            before, pace = pace, paced(pace, [future.done() for _, future in waiting])
            if pace.depth > before.depth:
                continue  # more are sent off before the first is waited for
            request, future = waiting.popleft()
            yield request, future.result()
            del future  # it holds the answer
            held_bytes -= request.length
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _fits(waiting: int, bytes_then: int, depth: int, max_bytes: int) -> bool:
    return not waiting or (waiting < depth and bytes_then <= max_bytes)


def paced(pace: Pace, done: list[bool]) -> Pace:
    """The pace after the reader asks for the first of these requests, of which some are answered. Pure.

    Where the reader must wait, twice as many. Where it found all of them answered, as often in a row as there are, it
    is the slower side and one less does: its memory is better left to who decodes.
    """
    if not done[0] and len(done) >= pace.depth:
        return Pace(min(2 * pace.depth, MAX_DEPTH))
    if not all(done):
        return Pace(pace.depth)
    if pace.calm + 1 < pace.depth:
        return Pace(pace.depth, pace.calm + 1)
    return Pace(max(pace.depth - 1, MIN_DEPTH))
