"""The process behind a ``Sandbox``, its two pipes and what goes through them. Works on driver and executor."""

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
from collections.abc import Mapping
from typing import Any

import msgpack

from lake.media.limits import Limits
from lake.memory import decoding_environ, peak_resident_bytes
from lake.one_thread import ONE_THREAD

HEADER = struct.Struct("<Q")
"""Length of an answer."""
REQUEST_HEADER = struct.Struct("<QQ")
"""Length of a call without its content, and of the content that follows: a content is never copied into a message."""
PIPE_BYTES = 1024 * 1024
"""A pipe holds 64 KiB by default: both sides would wake each other several times a recording."""
READ_BYTES = 256 * 1024
SAID_BYTES = 4096
"""So much of the end of what a child that does not start has said is looked at."""
START_LIMIT_S = 120.0
"""A child that has not said that it is ready by then is broken: a busy machine imports slowly."""
ENVIRON = {**ONE_THREAD, "OPENCV_FOR_THREADS_NUM": "1", "HF_HUB_OFFLINE": "1"}
"""A core a child, and libraries look for nothing in the network."""


class Garbled(Exception):
    """It said something that is no answer."""


class Died(Exception):
    """It is gone."""


class Late(Exception):
    """It did not answer in time."""


class TooLarge(Exception):
    """Its answer has so many bytes, more than it may have."""


class NotStarted(Exception):
    """It did not come as far as taking calls; says how it ended."""


class ChildProcess:
    """One child process and its two pipes."""

    def __init__(self, limits: Limits, functions: str) -> None:
        self._unsent: deque[memoryview] = deque()
        self._unread = bytearray()
        to_child, self._out = os.pipe()
        _widen(self._out)
        os.set_blocking(self._out, False)
        self._in, from_child = os.pipe()
        path = {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        environment = {**os.environ, **path, **ENVIRON, **decoding_environ()}
        command = [sys.executable, "-P", "-m", "lake.media.child", str(to_child), str(from_child)]
        self._said = os.memfd_create("said")  # by a child that starts: one that works says nothing
        self._process = subprocess.Popen(  # noqa: S603
            [*command, functions, str(limits.memory_bytes)],
            pass_fds=(to_child, from_child),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            env=environment,
        )
        os.close(to_child)
        os.close(from_child)
        self._ready = False
        self.unanswered = 0
        """Calls that it was sent and has not answered."""
        self.model_loads = 0
        self._answers, self._both = select.poll(), select.poll()
        for each in (self._answers, self._both):
            each.register(self._in, select.POLLIN | select.POLLHUP)
        self._both.register(self._out, select.POLLOUT)

    def send(self, call_id: str, function: str, args: Mapping[str, Any]) -> None:
        """Give it a call; what the pipe does not take now is written while answers are waited for."""
        self.unanswered += 1
        data = args.get("data") or b""
        frame = msgpack.packb({"id": call_id, "function": function, "args": {**args, "data": None} if data else args})
        self._unsent.append(memoryview(REQUEST_HEADER.pack(len(frame), len(data)) + frame))
        if data:
            self._unsent.append(memoryview(data))
        self._push()

    def await_start(self) -> None:
        """Wait until it takes calls, the first time it is asked: its imports are no recording's time.

        Raises:
            NotStarted: it never will; the process is to be ended.
        """
        if self._ready:
            return
        try:
            self._frame(time.monotonic() + START_LIMIT_S, 1024)
        except Late:
            raise NotStarted(f"not ready within {START_LIMIT_S:g} s{self._last_words()}") from None
        except (Died, TooLarge):
            raise NotStarted(f"{self.death()}{self._last_words()}") from None
        self._ready = True

    def _last_words(self) -> str:
        size_bytes = os.fstat(self._said).st_size
        said = os.pread(self._said, SAID_BYTES, max(0, size_bytes - SAID_BYTES)).decode("utf-8", "replace").split("\n")
        return next((f", {line.strip():.300}" for line in reversed(said) if line.strip()), "")

    def receive(self, limit_s: float, output_bytes: int, rest_s: float) -> tuple[dict[str, Any], int]:
        """The next answer and its bytes; nobody looks for it during the rest, if there is nothing else to do.

        Raises:
            Late, TooLarge, Died, Garbled: there is none; the process is to be ended.
        """
        deadline = time.monotonic() + limit_s
        if not self._unread and not self._unsent:
            time.sleep(min(rest_s, limit_s))
        frame = self._frame(deadline, output_bytes)
        answer = _answered(frame)
        self.unanswered -= 1
        self.model_loads = answer.get("model_loads", 0)
        return answer, len(frame)

    def _frame(self, deadline: float, most: int) -> bytes:
        (length,) = HEADER.unpack(self._read(HEADER.size, deadline))
        if length > most:
            raise TooLarge(length)
        return self._read(length, deadline)

    def _read(self, length: int, deadline: float) -> bytes:
        # What one read brings is kept: the answers about small recordings come many at a time.
        while len(self._unread) < length:
            left_ms = (deadline - time.monotonic()) * 1000
            ready = (self._both if self._unsent else self._answers).poll(left_ms) if left_ms > 0 else []
            if not ready:
                raise Late
            self._push()
            if all(pipe != self._in for pipe, _ in ready):
                continue
            chunk = os.read(self._in, READ_BYTES)
            if not chunk:
                raise Died
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
        for each in (self._out, self._in, self._said):
            os.close(each)


def _widen(pipe: int) -> None:
    """Ask for a pipe that holds more; a user who has many gets none, and the pipe works as it is."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _answered(data: bytes) -> dict[str, Any]:
    """What a child said, which is not trusted: what a decoder wrote over its memory may be in it."""
    try:
        answer = msgpack.unpackb(data, strict_map_key=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise Garbled from error
    if not isinstance(answer, dict):
        raise Garbled
    seconds, loads = answer.get("seconds"), answer.get("model_loads", 0)
    texts = [answer.get(name) for name in ("error_class", "message") if "error_class" in answer]
    if not (
        isinstance(seconds, float)
        and 0 <= seconds < math.inf
        and isinstance(loads, int)
        and 0 <= loads < 2**31
        and all(isinstance(text, str) for text in texts)
    ):
        raise Garbled
    return answer
