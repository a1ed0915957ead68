"""What is on its way from the decode of a recording to one of its readers. Works in the decoding child."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from lake.errors import RecordError
from lake.media.pace import Pace

BOX_ITEMS = 16
BOX_BYTES = 8 * 1024 * 1024
"""What may lie between the decode and a reader before the decode waits; as much again is in the reader's hands. A
picture of 8 megapixels is 25 MB: then it is one at a time."""


class Box:
    """What is on its way from the decode to one reader, who takes all that is there at once: threads that hand over
    one picture at a time do little else."""

    def __init__(self, owner: threading.Thread, pace: Pace, finished: Callable[[Any], Any]) -> None:
        self.owner = owner
        self._finished = finished
        self.closed = False
        self._pace = pace
        self._ended = False
        self._items: list[Any] = []
        self._size_bytes = 0
        self._changed = threading.Condition()

    def put(self, item: Any, pace: Pace) -> None:
        """Wait for room, and put; nothing where nobody takes any more. The pace is that of the thread that puts."""
        with self._changed:
            while not self.closed and (len(self._items) >= BOX_ITEMS or self._size_bytes >= BOX_BYTES):
                with pace.waits():
                    self._changed.wait()
            pace.mark()
            if not (self.closed or self._ended):
                self._items.append(item)
                self._size_bytes += _size_bytes(item)
                if len(self._items) == 1:
                    self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def fail(self, error: RecordError) -> None:
        """What is left to take is the error."""
        with self._changed:
            self._items = [error]
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._items = []
            self._changed.notify_all()

    def items(self) -> Iterator[Any]:
        """Items as they come; an error of the recording is raised in its turn."""
        try:
            while taken := self._take():
                for item in taken:
                    self._pace.mark()
                    if isinstance(item, RecordError):
                        raise item
                    yield self._finished(item)
        finally:
            self.close()

    def _take(self) -> list[Any]:
        """All that is there; waits until something is. Nothing at the end."""
        with self._changed:
            while not (self._items or self._ended):
                with self._pace.waits():
                    self._changed.wait()
            taken, self._items, self._size_bytes = self._items, [], 0
            self._changed.notify_all()
        return taken


def _size_bytes(item: Any) -> int:
    """Bytes of a block of samples, or about those of a decoded frame with its time."""
    if isinstance(item, tuple):
        frame = item[1]
        return int(2 * frame.width * frame.height)
    return int(getattr(item, "nbytes", 0))
