"""How long a thread of the decoding child has been at one thing. Tells which analysis of a recording does not end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Pace:
    """One thread's: it marks each step forward, and says while it waits for another thread."""

    def __init__(self) -> None:
        self._clock: int | None = None
        self._waiting = False
        self._since_s = 0.0
        self._others_s = 0.0

    def mark(self) -> None:
        """The thread begins, or has come a step further. Called in it."""
        if self._clock is None:
            # Asked for by another thread it would be that of a thread that may have ended, which crashes.
            self._clock = time.pthread_getcpuclockid(threading.get_ident())
        self._since_s, self._others_s = time.monotonic(), time.process_time() - time.thread_time()

    @contextmanager
    def waits(self) -> Iterator[None]:
        """The thread waits for another one, however long. Called in it."""
        self._waiting = True
        try:
            yield
        finally:
            self.mark()
            self._waiting = False

    def stalled_s(self) -> float:
        """Seconds without a step forward, less the processor time that other threads of the process had meanwhile.

        Analyses that share one core are slow together, and none is to blame. Called in another thread.
        """
        if self._clock is None or self._waiting:
            return 0.0
        since_s, others_then_s = self._since_s, self._others_s
        try:
            own_s = time.clock_gettime(self._clock)
        except OSError:  # it has ended
            return 0.0
        others_s = time.process_time() - own_s - others_then_s
        return time.monotonic() - since_s - max(0.0, others_s)
