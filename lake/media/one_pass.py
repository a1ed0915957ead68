"""Several analyses of one recording over one decode of it. Works in the decoding child.

An analysis draws what it reads (``for picture in iter_video_frames(media)``), and so do all of them, each in a thread
of its own. The decode waits until every one of them has asked or has ended, serves what they asked for, and goes at
the pace of the slowest: between it and each reader is a box of few items. Who asks later, or twice, decodes for
himself. What is no stream (the pages of a document, the pixels of an image) is made once (``OnePass.once``).
"""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import Future, InvalidStateError
from dataclasses import replace
from typing import Any, TypeVar

from lake.errors import LimitExceeded, RecordError
from lake.media.box import Box
from lake.media.decode import opened
from lake.media.foreign import as_record_error
from lake.media.pace import Pace
from lake.media.readings import Reading
from lake.media.streams import read
from lake.model import Media

WATCH_S = 0.5
"""How often it is looked whether something stands still."""
THREAD = "lake-pass-"
"""How names of threads of a pass begin."""

Result = TypeVar("Result")


def together(
    media: Media, jobs: Mapping[str, Callable[[Media], Result]], limits_s: Mapping[str, float] | None = None
) -> dict[str, Result]:
    """Run every job on the recording, which is opened and decoded once; jobs return, they do not raise.

    A job that is at one thing for longer than its limit is given up: it has no result, its thread goes on (``lingers``)
    and the others go on without it. A decode that does not end is an error of those who wait for it.
    """
    limits_s = limits_s or {}
    one_pass = OnePass(len(jobs))
    shared = replace(media, shared=one_pass)
    results: dict[str, Result] = {}

    def run(name: str) -> None:
        try:
            results[name] = jobs[name](shared)
        finally:
            one_pass.leave(threading.current_thread())

    working = {name: one_pass.thread(functools.partial(run, name), name) for name in jobs}
    decode = one_pass.thread(functools.partial(one_pass.serve, media), "decode")
    for thread in (*working.values(), decode):
        thread.start()
    most_s = max(limits_s.values(), default=math.inf)
    while working:
        next(iter(working.values())).join(WATCH_S)
        working = {name: thread for name, thread in working.items() if thread.is_alive()}
        late = [name for name in working if one_pass.stalled_s(working[name]) > limits_s.get(name, math.inf)]
        for name in late:
            one_pass.leave(working.pop(name))
        if one_pass.stalled_s(decode) > most_s:
            one_pass.fail(LimitExceeded(f"not decoded further within {most_s:g} s: given up"))
    while decode.is_alive() and one_pass.stalled_s(decode) <= most_s:
        decode.join(WATCH_S)  # it ends at the next item that nobody takes
    return {name: results[name] for name in jobs if name in results}


def lingers() -> bool:
    """Whether a thread goes on in this process that was given up."""
    return any(thread.name.startswith(THREAD) for thread in threading.enumerate())


class OnePass:
    """The decode that readers in several threads share."""

    def __init__(self, readers: int) -> None:
        self._changed = threading.Condition()
        self._undecided = readers
        self._begun = False
        self._boxes: dict[Reading, Box] = {}
        self._made: dict[Hashable, tuple[threading.Thread, Future[Any]]] = {}
        self._decided: set[threading.Thread] = set()
        """The threads themselves: the number of one that has ended is given to the next."""
        self._paces: dict[threading.Thread, Pace] = {}
        self._finishing = threading.Lock()
        """Two readers may have the same frame in hands, and to convert it writes to it for a while."""

    def thread(self, work: Callable[[], None], name: str) -> threading.Thread:
        """A thread of this pass, not started yet."""
        pace = Pace()

        def paced() -> None:
            pace.mark()
            work()

        thread = threading.Thread(target=paced, name=f"{THREAD}{name}", daemon=True)
        self._paces[thread] = pace
        return thread

    def stalled_s(self, thread: threading.Thread) -> float:
        """How long a thread of this pass has been at one thing, see ``Pace``."""
        return self._paces[thread].stalled_s()

    def _finished(self, reading: Reading) -> Callable[[Any], Any]:
        def finished(item: Any) -> Any:
            with self._finishing:
                return reading.finished(item)

        return finished

    def _pace(self) -> Pace:
        return self._paces.get(threading.current_thread()) or Pace()

    def once(self, what: Hashable, make: Callable[[], Result]) -> Result:
        """What several readers need, made by the first that asks; the others wait, and get its error where it fails."""
        with self._changed:
            first = what not in self._made
            _, made = self._made.setdefault(what, (threading.current_thread(), Future()))
        if first:
            try:
                _settle(made, make())
            except BaseException as error:
                _settle(made, error)
        with self._pace().waits():
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
            box = self._boxes[reading] = Box(me, self._pace(), self._finished(reading))
            self._changed.notify_all()
        return box.items()

    def leave(self, thread: threading.Thread) -> None:
        """A thread reads nothing any more; who waits for what it makes waits in vain."""
        with self._changed:
            if thread not in self._decided:
                self._decided.add(thread)
                self._undecided -= 1
            boxes = [box for box in self._boxes.values() if box.owner is thread]
            made = [future for maker, future in self._made.values() if maker is thread]
            self._changed.notify_all()
        for box in boxes:
            box.close()
        for future in made:
            _settle(future, LimitExceeded("another analysis, which was given up, was to read it"))

    def fail(self, error: RecordError) -> None:
        """Whatever the decode does: its readers get this error."""
        with self._changed:
            boxes = list(self._boxes.values())
        for box in boxes:
            box.fail(error)

    def serve(self, media: Media) -> None:
        """Decode for those who asked, once all have decided; errors of the recording go to each of them."""
        pace = self._pace()
        with self._changed, pace.waits():
            self._changed.wait_for(lambda: self._undecided == 0)
            self._begun = True
            boxes = dict(self._boxes)
        if not boxes:
            return
        try:
            with opened(media) as container:
                for reading, item in read(container, list(boxes), media.threads):
                    boxes[reading].put(item, pace)
                    if all(box.closed for box in boxes.values()):
                        break
        except BaseException as error:
            for box in boxes.values():
                box.put(as_record_error(error), pace)
        for box in boxes.values():
            box.end()


def _settle(future: Future[Any], outcome: Any) -> None:
    """Give a future its result or its error, if it has none yet."""
    with contextlib.suppress(InvalidStateError):
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
