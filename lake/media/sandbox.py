"""A supervised child process in which untrusted bytes are decoded.

One recording that crashes the decoder, hangs or eats memory costs itself only: the child is killed and replaced, the
recordings that were waiting are sent again. The child answers in msgpack, never in pickle: it is not trusted.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import msgpack

from lake.media.limits import Limits
from lake.memory import decoding_environ, peak_resident_bytes
from lake.model import Failure

HEADER = struct.Struct("<Q")
"""Length of an answer."""
REQUEST_HEADER = struct.Struct("<QQ")
"""Length of a call without its content, and of the content that follows: a content is never copied into a message."""
IN_FLIGHT_CALLS = 32
IN_FLIGHT_BYTES = 768 * 1024
"""What fits the pipe with its headers, so that a worker that has sent it all can rest."""
PIPE_BYTES = 1024 * 1024
"""A pipe holds 64 KiB by default: both sides would wake each other several times a recording."""
REST_S = 0.05
"""The longest that a worker rests while its child has enough to do: each time it wakes it takes the child's core."""
READ_BYTES = 256 * 1024
NO_RESULT = "no result within {limit_s:g} s: given up"
START_LIMIT_S = 120.0
"""A child that has not said that it is ready by then is broken: a busy machine imports slowly."""


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


class Sandbox:
    """A child process for decoding, started when first needed and replaced when it dies."""

    def __init__(self, limits: Limits, *, functions: str = "lake.media.child:FUNCTIONS") -> None:
        """``functions`` names the mapping of function names that the child offers, as ``module:attribute``."""
        self.limits = limits
        self.functions = functions
        self.children_started = 0
        self._child: _Child | None = None
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

    def map(self, calls: Iterable[Call]) -> Iterator[Outcome]:
        """Outcomes in the order of the calls. The next calls are drawn while the child works on the first.

        A failure of a call is its outcome; what raises is a child that cannot be started.
        """
        source = iter(calls)
        waiting: deque[Call] = deque()
        waiting_bytes = 0
        exhausted = False
        while True:
            while not exhausted and len(waiting) < IN_FLIGHT_CALLS and waiting_bytes < IN_FLIGHT_BYTES:
                call = next(source, None)
                if call is None:
                    exhausted = True
                    break
                waiting.append(call)
                waiting_bytes += _size(call)
                self._running(waiting).send(call)
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

    def _running(self, waiting: deque[Call]) -> _Child:
        """The child; a fresh one is sent what was waiting, less the last call, which the caller sends."""
        if self._child is not None:
            return self._child
        child = self._started()
        for call in list(waiting)[:-1]:
            child.send(call)
        return child

    def _started(self) -> _Child:
        if self._child is None:
            self._child = _Child(self.limits, self.functions)
            self.children_started += 1
        return self._child

    def _answer(self, waiting: deque[Call]) -> Outcome:
        call = waiting[0]
        if self._child is None:
            self._running(deque([*waiting, call]))
        child = self._child
        assert child is not None  # noqa: S101
        limit_s = call.time_limit_s or self.limits.time_s
        started = time.monotonic()
        try:
            # It is not asked before it must have done a good part of what it was sent.
            rest_s = min(REST_S, len(waiting) * self._usual_s / 4)
            answer, size_bytes = child.receive(limit_s, self.limits.output_bytes, rest_s)
        except _Late:
            failure = Failure("LimitExceeded", NO_RESULT.format(limit_s=limit_s))
        except _TooLarge as error:
            failure = Failure("LimitExceeded", f"result of {error.args[0]:,} bytes, over {self.limits.output_bytes:,}")
        except _Died:
            failure = Failure("DecoderCrashed", f"the decoder took its process down ({child.death()})")
        except _Garbled:
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


def _answered(data: bytes) -> dict[str, Any]:
    """What a child said, which is not trusted: what a decoder wrote over its memory may be in it."""
    try:
        answer = msgpack.unpackb(data, strict_map_key=False)
    except (ValueError, RecursionError) as error:
        raise _Garbled from error
    if not isinstance(answer, dict):
        raise _Garbled
    seconds, loads = answer.get("seconds"), answer.get("model_loads", 0)
    texts = [answer.get(name) for name in ("error_class", "message") if "error_class" in answer]
    if not (
        isinstance(seconds, float)
        and 0 <= seconds < math.inf
        and isinstance(loads, int)
        and 0 <= loads < 2**31
        and all(isinstance(text, str) for text in texts)
    ):
        raise _Garbled
    return answer


def _size(call: Call) -> int:
    return len(call.args.get("data") or b"")


class _Garbled(Exception):
    pass


class _Died(Exception):
    pass


class _Late(Exception):
    pass


class _TooLarge(Exception):
    pass


class _Child:
    """One child process and its two pipes."""

    def __init__(self, limits: Limits, functions: str) -> None:
        self._unsent: deque[memoryview] = deque()
        self._unread = bytearray()
        to_child, self._out = os.pipe()
        _widen(self._out)
        os.set_blocking(self._out, False)
        self._in, from_child = os.pipe()
        path = {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        environment = {**os.environ, **path, **_ONE_THREAD, **decoding_environ()}
        command = [sys.executable, "-P", "-m", "lake.media.child", str(to_child), str(from_child)]
        self._process = subprocess.Popen(  # noqa: S603
            [*command, functions, str(limits.memory_bytes)],
            pass_fds=(to_child, from_child),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        os.close(to_child)
        os.close(from_child)
        self._ready = False
        self.model_loads = 0
        self._answers, self._both = select.poll(), select.poll()
        for each in (self._answers, self._both):
            each.register(self._in, select.POLLIN | select.POLLHUP)
        self._both.register(self._out, select.POLLOUT)

    def send(self, call: Call) -> None:
        data = call.args.get("data") or b""
        args = {**call.args, "data": None} if data else call.args
        frame = msgpack.packb({"id": call.id, "function": call.function, "args": args})
        self._unsent.append(memoryview(REQUEST_HEADER.pack(len(frame), len(data)) + frame))
        if data:
            self._unsent.append(memoryview(data))
        self._push()

    def receive(self, limit_s: float, output_bytes: int, rest_s: float) -> tuple[dict[str, Any], int]:
        """The next answer and its bytes; nobody looks for it during the rest, if there is nothing else to do."""
        if not self._ready:
            # The start (imports) is not the recording's time.
            self._frame(time.monotonic() + START_LIMIT_S, 1024)
            self._ready = True
        deadline = time.monotonic() + limit_s
        if not self._unread and not self._unsent:
            time.sleep(min(rest_s, limit_s))
        frame = self._frame(deadline, output_bytes)
        answer = _answered(frame)
        self.model_loads = answer.get("model_loads", 0)
        return answer, len(frame)

    def _frame(self, deadline: float, most: int) -> bytes:
        (length,) = HEADER.unpack(self._read(HEADER.size, deadline))
        if length > most:
            raise _TooLarge(length)
        return self._read(length, deadline)

    def _read(self, length: int, deadline: float) -> bytes:
        # What one read brings is kept: the answers about small recordings come many at a time.
        while len(self._unread) < length:
            left_ms = (deadline - time.monotonic()) * 1000
            ready = (self._both if self._unsent else self._answers).poll(left_ms) if left_ms > 0 else []
            if not ready:
                raise _Late
            self._push()
            if all(pipe != self._in for pipe, _ in ready):
                continue
            chunk = os.read(self._in, READ_BYTES)
            if not chunk:
                raise _Died
            self._unread += chunk
        taken = bytes(memoryview(self._unread)[:length])
        del self._unread[:length]
        return taken

    def _push(self) -> None:
        """Write what the pipe takes and never wait: a full pipe must not keep the parent from reading answers."""
        while self._unsent:
            try:
                written = os.write(self._out, self._unsent[0])
            except BlockingIOError:
                return
            except OSError:  # the child is dead, which its missing answer tells
                self._unsent.clear()
                return
            if written == len(self._unsent[0]):
                self._unsent.popleft()
            else:
                self._unsent[0] = self._unsent[0][written:]

    def peak_memory_bytes(self) -> int | None:
        return peak_resident_bytes(self._process.pid)

    def death(self) -> str:
        """How the child ended, in words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        code = self._process.returncode
        return f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._unsent.clear()
        os.close(self._out)
        os.close(self._in)


def _widen(pipe: int) -> None:
    """Ask for a pipe that holds more; a user who has many gets none, and the pipe works as it is."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_THREAD_LIMIT", "OPENCV_FOR_THREADS_NUM"), "1"
) | {"HF_HUB_OFFLINE": "1"}
