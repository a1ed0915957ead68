"""Whole Spark drivers of a race, each a process of its own that appends a row when it is told to."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

from tests.support.lakes import ROOT

TOLD_BYTES = 4000
"""Of what a driver said on stderr: shown where a test fails."""


@contextlib.contextmanager
def spark_drivers(
    root: str, table: str, count: int, environment: Mapping[str, str], *log_store: str
) -> Iterator[list[subprocess.Popen[str]]]:
    """So many drivers, started and ready to append; see ``tests.support.race_driver``."""
    with contextlib.ExitStack() as stack:
        said = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(count)]
        yield from _started(root, table, said, environment, *log_store)


def _started(
    root: str, table: str, said: Sequence[IO[str]], environment: Mapping[str, str], *log_store: str
) -> Iterator[list[subprocess.Popen[str]]]:
    drivers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.race_driver", root, table, f"spark{number}", *log_store],
            env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        for number, errors in enumerate(said)
    ]
    try:
        for driver in drivers:
            assert driver.stdout is not None
            assert driver.stdout.readline() == "ready\n"
        yield drivers
    finally:
        for driver, errors in zip(drivers, said, strict=True):
            ended = driver.poll()
            driver.kill()
            driver.communicate()
            errors.seek(0)
            print(f"{'it ran' if ended is None else f'it had ended with {ended}'}: {errors.read()[-TOLD_BYTES:]}")


def append(driver: subprocess.Popen[str]) -> str:
    """Have a driver append its next row, called ``<driver>-<number>``; what it says then, or nothing if it ended."""
    assert driver.stdin is not None
    assert driver.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        driver.stdin.write("append\n")
        driver.stdin.flush()
    return driver.stdout.readline()
