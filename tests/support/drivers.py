"""Whole Spark drivers of a race, each a process of its own that appends a row when it is told to."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping

from tests.support.lakes import ROOT


@contextlib.contextmanager
def spark_drivers(
    root: str, table: str, count: int, environment: Mapping[str, str], *log_store: str
) -> Iterator[list[subprocess.Popen[str]]]:
    """So many drivers, started and ready to append; see ``tests.support.race_driver``."""
    drivers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.race_driver", root, table, f"spark{number}", *log_store],
            env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    try:
        for driver in drivers:
            assert driver.stdout is not None
            assert driver.stdout.readline() == "ready\n"
        yield drivers
    finally:
        for driver in drivers:
            driver.kill()
            driver.communicate()


def append(driver: subprocess.Popen[str]) -> str:
    """Have a driver append its next row, called ``<driver>-<number>``; what it says then, or nothing if it ended."""
    assert driver.stdin is not None
    assert driver.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        driver.stdin.write("append\n")
        driver.stdin.flush()
    return driver.stdout.readline()
