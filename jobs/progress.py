"""Progress of long work on stderr: a live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

PLAIN_EVERY_S = 10.0


def human_bytes(size_bytes: float) -> str:
    """Bytes as people read them: powers of 1,000."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size_bytes) < 1000:
            return f"{size_bytes:,.0f} {unit}" if unit == "B" else f"{size_bytes:,.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:,.1f} TB"


class Progress:
    """One line: what, objects done (of how many), bytes, objects a second."""

    def __init__(self, what: str, *, unit: str = "objects", quiet: bool = False) -> None:
        self.what = what
        self.unit = unit
        self.quiet = quiet
        self._started = time.monotonic()
        self._told = self._started
        self._live: Any = None

    def __enter__(self) -> Progress:
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.status import Status

            self._live = Status(f"{self.what} …", console=Console(stderr=True))
            self._live.start()
        return self

    def update(self, done: int, total: int | None, size_bytes: int) -> None:
        seconds = time.monotonic() - self._started
        of = f" of {total:,}" if total is not None else ""
        rate = f", {done / seconds:,.0f} {self.unit}/s" if done and seconds > 1 else ""
        line = f"{self.what}: {done:,}{of} {self.unit}, {human_bytes(size_bytes)}{rate}"
        if self._live is not None:
            self._live.update(line)
        elif not self.quiet and time.monotonic() - self._told >= PLAIN_EVERY_S:
            self._told = time.monotonic()
            print(line, file=sys.stderr, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
