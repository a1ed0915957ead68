"""A supervised child process in which untrusted bytes are decoded.

One recording that crashes the decoder, hangs or eats memory costs itself only: the child is killed and replaced, the
recordings that were waiting are sent again. The child answers in msgpack, never in pickle: it is not trusted.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from lake.errors import LakeError
from lake.media.child_process import ChildProcess, Died, Garbled, Late, NotStarted, TooLarge
from lake.media.limits import NO_RESULT, Limits
from lake.model import Failure

IN_FLIGHT_CALLS = 32
IN_FLIGHT_BYTES = 768 * 1024
"""What fits the pipe with its headers, so that a worker that has sent it all can rest."""
STARTS = 2
"""So often a child is started that does not come as far as taking calls."""
REST_S = 0.05
"""The longest that a worker rests while its child has enough to do: each time it wakes it takes the child's core."""


@dataclass(frozen=True)
class Call:
    """One recording to be worked on. ``args`` are values that msgpack knows."""

    id: str
    function: str
    args: dict[str, Any]
    time_limit_s: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a call: a value or a failure, never an exception."""

    id: str
    value: Any = None
    failure: Failure | None = None
    seconds: float = 0.0
    size_bytes: int = 0
    """Of the answer of the child."""


@dataclass(frozen=True)
class Prelude:
    """A call that a child answers before it is given recordings. Its failure is none of theirs, so it is raised."""

    call: Call
    error: Callable[[str], LakeError]
    """Made of what the failure says."""

    def value(self, outcome: Outcome) -> Any:
        """What the call gave; raises its failure."""
        if outcome.failure is not None:
            raise self.error(outcome.failure.message)
        return outcome.value


class Sandbox:
    """A child process for decoding, started when first needed and replaced when it dies."""

    def __init__(self, limits: Limits, *, functions: str = "lake.media.child:FUNCTIONS") -> None:
        """``functions`` names the mapping of function names that the child offers, as ``module:attribute``."""
        self.limits = limits
        self.functions = functions
        self.children_started = 0
        self.prelude: Prelude | None = None
        """For children that are started from now on."""
        self._owed: Prelude | None = None
        """What the child was asked first of all and has not answered."""
        self._child: ChildProcess | None = None
        self._ended_peak_bytes: int | None = None
        self._ended_loads = 0
        self._usual_s = 0.0
        """What a call takes, by the last ones."""

    @property
    def model_loads(self) -> int:
        """How often its children have loaded a model, all together."""
        return self._ended_loads + (self._child.model_loads if self._child is not None else 0)

    @property
    def peak_memory_bytes(self) -> int | None:
        """Largest resident set that one of its children has had. That of one that crashed is not known."""
        now = self._child.peak_memory_bytes() if self._child is not None else None
        return max((peak for peak in (now, self._ended_peak_bytes) if peak is not None), default=None)

    def start(self) -> None:
        """Start the child now, so that its imports go on while the caller does other work."""
        self._started()

    def prepare(self, prelude: Prelude) -> Any:
        """Have the child answer this now, and each that replaces it before anything else; gives the value.

        Raises:
            LakeError: the prelude fails, or the child does not start.
        """
        self.prelude = None  # a child that starts now is asked once
        (outcome,) = self.map([prelude.call])
        value = prelude.value(outcome)
        self.prelude = prelude
        return value

    def map(self, calls: Iterable[Call]) -> Iterator[Outcome]:
        """Outcomes in the order of the calls. The next calls are drawn while the child works on the first.

        A failure of a call is its outcome.

        Raises:
            LakeError: the child does not start, or its prelude fails, which is no recording's fault.
        """
        source = iter(calls)
        waiting: deque[Call] = deque()
        waiting_bytes = 0
        exhausted = False
        if self._child is not None and self._child.unanswered:
            self.close()  # the map before was broken off: what the child says next is of its recordings
        while True:
            while not exhausted and len(waiting) < IN_FLIGHT_CALLS and waiting_bytes < IN_FLIGHT_BYTES:
                call = next(source, None)
                if call is None:
                    exhausted = True
                    break
                waiting.append(call)
                waiting_bytes += _size(call)
                self._send(waiting)
            if not waiting:
                return
            outcome = self._answer(waiting)
            waiting_bytes -= _size(waiting.popleft())
            yield outcome

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._ended_peak_bytes, self._ended_loads = self.peak_memory_bytes, self.model_loads
            self._child.kill()
            self._child = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _send(self, waiting: deque[Call]) -> None:
        """Send the last of those that are waiting; a fresh child is sent all of them."""
        fresh = self._child is None
        child = self._started()
        for call in waiting if fresh else (waiting[-1],):
            child.send(call.id, call.function, call.args)

    def _ready(self, waiting: deque[Call]) -> ChildProcess:
        """The child, once it takes calls and has answered its prelude; it has been sent those that are waiting."""
        tries = 0
        while True:
            if self._child is None:
                self._send(waiting)
            child = self._started()
            try:
                child.await_start()
            except NotStarted as error:
                self.close()
                tries += 1
                if tries == STARTS:
                    raise LakeError(
                        f"the decoding child does not start on {os.uname().nodename} ({error}): run `lake doctor`"
                        f" there, and see that limits.memory_bytes ({self.limits.memory_bytes:,}) holds its imports"
                    ) from error
            else:
                break
        if self._owed is not None:
            prelude, self._owed = self._owed, None
            prelude.value(self._received(child, prelude.call, 0.0))
        return child

    def _started(self) -> ChildProcess:
        if self._child is None:
            self._child = ChildProcess(self.limits, self.functions)
            self.children_started += 1
            self._owed = self.prelude
            if self._owed is not None:
                call = self._owed.call
                self._child.send(call.id, call.function, call.args)
        return self._child

    def _answer(self, waiting: deque[Call]) -> Outcome:
        child = self._ready(waiting)
        # It is not asked before it must have done a good part of what it was sent.
        return self._received(child, waiting[0], min(REST_S, len(waiting) * self._usual_s / 4))

    def _received(self, child: ChildProcess, call: Call, rest_s: float) -> Outcome:
        limit_s = call.time_limit_s or self.limits.time_s
        started = time.monotonic()
        try:
            answer, size_bytes = child.receive(limit_s, self.limits.output_bytes, rest_s)
        except Late:
            failure = Failure("LimitExceeded", NO_RESULT.format(limit_s=limit_s))
        except TooLarge as error:
            failure = Failure("LimitExceeded", f"result of {error.args[0]:,} bytes, over {self.limits.output_bytes:,}")
        except Died:
            failure = Failure("DecoderCrashed", f"the decoder took its process down ({child.death()})")
        except Garbled:
            failure = Failure("DecoderCrashed", "the decoder's process answered with something that is no answer")
        else:
            if answer.get("spent"):  # something in it goes on and does not end
                self.close()
            self._usual_s += (answer["seconds"] - self._usual_s) / 8
            return _outcome(call.id, answer, size_bytes)
        self.close()
        return Outcome(call.id, failure=failure, seconds=time.monotonic() - started)


def _outcome(call_id: str, answer: dict[str, Any], size_bytes: int) -> Outcome:
    if "error_class" in answer:
        failure = Failure(answer["error_class"], answer["message"][:2000])
        return Outcome(call_id, failure=failure, seconds=answer["seconds"])
    return Outcome(call_id, answer.get("value"), seconds=answer["seconds"], size_bytes=size_bytes)


def _size(call: Call) -> int:
    return len(call.args.get("data") or b"")
