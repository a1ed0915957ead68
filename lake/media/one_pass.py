"""Several analyses of one recording over one decode of it. Works in the decoding child.

An analysis draws what it reads (``for picture in iter_video_frames(media)``), and so do all of them, each in a thread
of its own. The decode waits until every one of them has asked or has ended, serves what they asked for, and goes at
the pace of the slowest: between it and each reader is a box of a few items. Who asks later, or twice, decodes for
himself. What is no stream (the pages of a document, the pixels of an image) is made once (``OnePass.once``).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, TypeVar

from lake.errors import RecordError
from lake.media.decode import opened
from lake.media.readings import Reading
from lake.media.streams import read
from lake.model import Media

BOX_ITEMS = 2
"""Between the decode and a reader: a picture of 8 megapixels is 25 MB."""

Result = TypeVar("Result")


def together(media: Media, jobs: Mapping[str, Callable[[Media], Result]]) -> dict[str, Result]:
    """Run every job on the recording, which is opened and decoded once; jobs return, they do not raise."""
    one_pass = OnePass(len(jobs))
    shared = replace(media, shared=one_pass)
    results: dict[str, Result] = {}

    def run(name: str) -> None:
        try:
            results[name] = jobs[name](shared)
        finally:
            one_pass.leave()

    threads = [threading.Thread(target=run, args=(name,), name=f"lake-{name}", daemon=True) for name in jobs]
    for thread in threads:
        thread.start()
    one_pass.serve(media)
    for thread in threads:
        thread.join()
    return {name: results[name] for name in jobs}


class OnePass:
    """The decode that readers in several threads share."""

    def __init__(self, readers: int) -> None:
        self._changed = threading.Condition()
        self._undecided = readers
        self._begun = False
        self._boxes: dict[Reading, _Box] = {}
        self._made: dict[Hashable, Future[Any]] = {}
        self._decided: set[threading.Thread] = set()
        """The threads themselves: the number of one that has ended is given to the next."""

    def once(self, what: Hashable, make: Callable[[], Result]) -> Result:
        """What several readers need, made by the first that asks; the others wait, and get its error where it fails."""
        with self._changed:
            first = what not in self._made
            made = self._made.setdefault(what, Future())
        if first:
            try:
                made.set_result(make())
            except BaseException as error:
                made.set_exception(error)
        result: Result = made.result()
        return result

    def join(self, reading: Reading) -> Iterator[Any] | None:
        """What the decode gives a reading; None where it is too late to ask, or asked before, by this thread."""
        me = threading.current_thread()
        with self._changed:
            if self._begun or me in self._decided:
                return None
            self._decided.add(me)
            self._undecided -= 1
            box = self._boxes[reading] = _Box(me)
            self._changed.notify_all()
        return box.items()

    def leave(self) -> None:
        """This thread reads nothing any more."""
        me = threading.current_thread()
        with self._changed:
            if me not in self._decided:
                self._decided.add(me)
                self._undecided -= 1
            boxes = [box for box in self._boxes.values() if box.owner is me]
            self._changed.notify_all()
        for box in boxes:
            box.close()

    def serve(self, media: Media) -> None:
        """Decode for those who asked, once all have decided; errors of the recording go to each of them."""
        with self._changed:
            self._changed.wait_for(lambda: self._undecided == 0)
            self._begun = True
            boxes = dict(self._boxes)
        if not boxes:
            return
        try:
            with opened(media) as container:
                for reading, item in read(container, list(boxes), media.threads):
                    boxes[reading].put(item)
                    if all(box.closed for box in boxes.values()):
                        break
        except RecordError as error:
            for box in boxes.values():
                box.put(error)
        except BaseException as error:
            for box in boxes.values():
                box.put(RecordError(f"{type(error).__name__}: {' '.join(str(error).split())}"))
        for box in boxes.values():
            box.end()


class _Box:
    """A few items on their way from the decode to one reader."""

    def __init__(self, owner: threading.Thread) -> None:
        self.owner = owner
        self.closed = False
        self._ended = False
        self._items: deque[Any] = deque()
        self._changed = threading.Condition()

    def put(self, item: Any) -> None:
        """Wait for room, and put; nothing where nobody takes any more."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed or len(self._items) < BOX_ITEMS)
            if not self.closed:
                self._items.append(item)
                self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._items.clear()
            self._changed.notify_all()

    def items(self) -> Iterator[Any]:
        """Items as they come; an error of the recording is raised in its turn."""
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._ended or bool(self._items))
                    if not self._items:
                        return
                    item = self._items.popleft()
                    self._changed.notify_all()
                if isinstance(item, RecordError):
                    raise item
                yield item
        finally:
            self.close()
