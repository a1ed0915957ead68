"""Fetching ahead: in order, several at once where the reader waits, never more bytes than allowed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from lake.store.prefetch import MAX_DEPTH, MIN_DEPTH, Pace, ahead, paced

pytestmark = pytest.mark.timeout(60)

WAIT_S = 30
"""What a test waits for that never comes."""


@dataclass(frozen=True)
class Piece:
    """A request."""

    number: int
    length: int


@dataclass
class CountingFetch:
    """Answers requests, and knows how many bytes were asked for that the reader has not let go."""

    together: int = 1
    """No request is answered before this many were asked for."""
    pause_s: float = 0.0
    asked: list[int] = field(default_factory=list)
    held_bytes: int = 0
    most_bytes: int = 0
    enough: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, piece: Piece) -> bytes:
        with self.lock:
            self.asked.append(piece.number)
            self.held_bytes += piece.length
            self.most_bytes = max(self.most_bytes, self.held_bytes)
            if len(self.asked) >= self.together:
                self.enough.set()
        if not self.enough.wait(WAIT_S):
            raise TimeoutError(f"only {len(self.asked)} requests came at once")
        time.sleep(self.pause_s)
        return bytes([piece.number % 251]) * piece.length

    def let_go(self, piece: Piece) -> None:
        with self.lock:
            self.held_bytes -= piece.length


def pieces(lengths: Sequence[int]) -> list[Piece]:
    return [Piece(number, length) for number, length in enumerate(lengths)]


@pytest.mark.parametrize("together", [1, 2, 8, MAX_DEPTH])
def test_answers_are_in_order_however_many_come_at_once(together: int) -> None:
    """The reader waits, so as many are sent off as the store needs to answer at all."""
    fetch, wanted = CountingFetch(together), pieces([10] * 100)
    got = list(ahead(fetch, wanted))
    assert [piece for piece, _ in got] == wanted
    assert all(answer == bytes([piece.number % 251]) * 10 for piece, answer in got)
    assert sorted(fetch.asked) == list(range(100))


@pytest.mark.parametrize("seed", range(20))
def test_bytes_in_flight_never_exceed_the_bound(seed: int) -> None:
    chance = random.Random(seed)
    wanted = pieces([chance.choice((0, 1, 100, 400, 1000)) for _ in range(300)])
    fetch = CountingFetch(pause_s=0.001)
    for piece, answer in ahead(fetch, wanted, max_bytes=1000):
        assert len(answer) == piece.length
        fetch.let_go(piece)
    assert 0 < fetch.most_bytes <= 1000
    assert fetch.held_bytes == 0


def test_a_request_above_the_bound_is_fetched_alone() -> None:
    fetch = CountingFetch()
    for piece, _ in ahead(fetch, pieces([10, 5000, 10, 10]), max_bytes=1000):
        fetch.let_go(piece)
    assert fetch.most_bytes == 5000


def test_the_bound_holds_where_the_reader_waits_for_ever_more() -> None:
    """Four fit into the bound: a store that answers five at once only gets no fifth."""
    fetch = CountingFetch(together=4)
    for piece, _ in ahead(fetch, pieces([250] * 40), max_bytes=1000):
        fetch.let_go(piece)
    assert fetch.most_bytes == 1000


def test_the_next_is_always_on_its_way() -> None:
    """Also after many times the bound has been read: what the reader lets go makes room."""
    wanted = pieces([250] * 100)
    asked = [threading.Event() for _ in wanted]

    def fetch(piece: Piece) -> bool:
        asked[piece.number].set()
        return asked[min(piece.number + 1, len(asked) - 1)].wait(WAIT_S)

    assert all(in_time for _, in_time in ahead(fetch, wanted, max_bytes=1000))


def test_what_fetch_raises_comes_in_its_turn() -> None:
    def broken(piece: Piece) -> int:
        return 1 // (3 - piece.number)

    got = []
    with pytest.raises(ZeroDivisionError):
        got.extend(piece.number for piece, _ in ahead(broken, pieces([10] * 10)))
    assert got == [0, 1, 2]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lake-prefetch")]


@pytest.mark.parametrize(
    ("pace", "done", "then"),
    [
        (Pace(2), [False, False], Pace(4)),
        (Pace(4, 3), [False, True, True, True], Pace(8)),
        (Pace(4), [False, True], Pace(4)),  # the bound or the end of the requests keeps it from more
        (Pace(4, 3), [True, False, True, True], Pace(4)),
        (Pace(4, 2), [True, True, True, True], Pace(4, 3)),
        (Pace(4, 3), [True, True, True, True], Pace(3)),
        (Pace(MIN_DEPTH, 1), [True, True], Pace(MIN_DEPTH)),
        (Pace(MAX_DEPTH), [False] * MAX_DEPTH, Pace(MAX_DEPTH)),
    ],
)
def test_the_pace_follows_the_slower_side(pace: Pace, done: list[bool], then: Pace) -> None:
    assert paced(pace, done) == then
