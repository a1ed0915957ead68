"""Tasks in a pool of processes on this machine: no JVM, so a small run costs a second and not ten."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from lake.engine.base import TaskFunction, TaskOutput
from lake.errors import LakeError
from lake.without_pandas import keep_pandas_out

ATTEMPTS = 3


class LocalEngine:
    """A process pool. Processes are spawned, not forked: the driver has threads of obstore and DuckDB."""

    name = "local"

    def __init__(self, workers: int | None = None) -> None:
        self.slots = workers or os.cpu_count() or 1
        self.gpu_slots = 0
        self._pool: ProcessPoolExecutor | None = None
        self._scratch: str | None = None

    def run(self, tasks: Sequence[bytes], function: TaskFunction, *, gpu: bool = False) -> Iterator[TaskOutput]:
        # Processes share what GPUs the machine has: nobody deals them out.
        left = dict(enumerate(tasks))
        for _attempt in range(ATTEMPTS):
            try:
                yield from self._round(left, function)
                return
            except BrokenProcessPool:
                # Which task took its process down is not told, so all unfinished ones are tried again.
                self._forget()
        raise LakeError(f"a worker process died {ATTEMPTS} times at the same tasks: is there enough memory?")

    def _round(self, left: dict[int, bytes], function: TaskFunction) -> Iterator[TaskOutput]:
        pool = self._started()
        with _interrupts_blocked():
            running: dict[Future[list[bytes]], int] = {pool.submit(_collect, function, t): n for n, t in left.items()}
        try:
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    outputs = future.result()
                    del left[running.pop(future)]
                    yield from outputs
        except BrokenProcessPool:
            raise
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """End the workers with what they do: nobody waits for it. Futures are left to the pool, which may hang on
        cancelled ones when its processes die (Python 3.11)."""
        pool, self._pool = self._pool, None
        if pool is not None:
            for process in list(pool._processes.values()):
                process.terminate()
            pool.shutdown(wait=True)

    def _started(self) -> ProcessPoolExecutor:
        if self._scratch is None:
            self._scratch = tempfile.mkdtemp(prefix="lake-")
        if self._pool is None:
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(
                self.slots, mp_context=spawn, initializer=_begin, initargs=(self._scratch,)
            )
        return self._pool

    def _forget(self) -> None:
        """Leave a broken pool, which might never be done, to itself."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def close(self) -> None:
        """End the workers, which have nothing to do. A pool that ends by itself while Python does says so on stderr."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Processes started meanwhile never get the Ctrl-C of a terminal, which goes to all: the driver ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(scratch: str) -> None:
    """What a worker does first. Its temporary files lie in ``scratch``, for one that is killed deletes none of them."""
    keep_pandas_out()
    tempfile.tempdir = scratch


def _collect(function: TaskFunction, task: bytes) -> list[bytes]:
    return list(function(task))
