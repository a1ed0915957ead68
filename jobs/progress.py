"""Progress of long work: a live bar on a terminal and in a notebook, a plain line now and then elsewhere."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

PLAIN_EVERY_S = 10.0
LIVE_EVERY_S = 0.2
"""A notebook shows no more changes than this, however often it is told."""


def human_bytes(size_bytes: float) -> str:
    """Bytes as people read them: powers of 1,000."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size_bytes) < 1000:
            return f"{size_bytes:,.0f} {unit}" if unit == "B" else f"{size_bytes:,.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:,.1f} TB"


def human_seconds(seconds: float) -> str:
    """A time as people read it: 42 s, 3 min, 2 h 05 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:,.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60:,} h {minutes % 60:02} min"


def left_s(seconds: float, share: float) -> float | None:
    """The time that is left, where a share of the work (0 to 1) took so many seconds; None where nobody can say."""
    return seconds * (1 - share) / share if share > 0 else None


class _Shown(Protocol):
    """Where progress is shown."""

    def show(self, line: str, share: float | None) -> None: ...
    def close(self) -> None: ...


class Progress:
    """One line: what, objects done (of how many), bytes (of how many), objects a second, time left."""

    def __init__(
        self, what: str, *, unit: str = "objects", quiet: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.what = what
        self.unit = unit
        self.quiet = quiet
        self._clock = clock
        self._started = clock()
        self._waiting = True
        self._shown: _Shown | None = None

    def __enter__(self) -> Progress:
        if not self.quiet:
            self._shown = _Notebook.here() or (_Terminal(self.what) if sys.stderr.isatty() else _Lines(self._clock))
        return self

    def update(self, done: int, size_bytes: int, *, total: tuple[int, int] | None = None, share: float = 0.0) -> None:
        """Tell what is done; ``total`` is all there is, in objects and bytes, ``share`` how much of the work is done.

        The work begins when progress is first told: before that, a run may wait for another one.
        """
        now = self._clock()
        if self._waiting and not done:
            self._started = now
        self._waiting = False
        if self._shown is not None:
            self._shown.show(
                self._line(done, size_bytes, total, now - self._started, share), share if total is not None else None
            )

    def _line(self, done: int, size_bytes: int, total: tuple[int, int] | None, seconds: float, share: float) -> str:
        objects, size = f"{done:,}", human_bytes(size_bytes)
        if total is not None:
            objects, size = f"{objects} of {total[0]:,}", f"{size} of {human_bytes(total[1])}"
        rate = f", {done / seconds:,.0f} {self.unit}/s" if done and seconds > 1 else ""
        left = left_s(seconds, share)
        eta = f", {human_seconds(left)} left" if left is not None and share < 1 and seconds > 1 else ""
        return f"{self.what}: {objects} {self.unit}, {size}{rate}{eta}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown is not None:
            self._shown.close()


class _Lines:
    """A line every ``PLAIN_EVERY_S``, for logs."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._told = clock()

    def show(self, line: str, share: float | None) -> None:
        if self._clock() - self._told >= PLAIN_EVERY_S:
            self._told = self._clock()
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing is left to show."""


class _Terminal:
    """A bar that moves; it only pulses while the whole is not known."""

    def __init__(self, what: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn
        from rich.progress import Progress as Bar

        columns = (SpinnerColumn(), BarColumn(20), TextColumn("{task.description}", markup=False))
        self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(f"{what} …", total=None)
        self._bar.start()

    def show(self, line: str, share: float | None) -> None:
        self._bar.update(self._task, description=line, completed=share or 0.0, total=None if share is None else 1.0)

    def close(self) -> None:
        self._bar.stop()


class _Notebook:
    """One output that is replaced; IPython alone, no widgets."""

    def __init__(self, display: Callable[..., Any]) -> None:
        self._display = display
        self._output: Any = None
        self._shown_at = 0.0
        self._last: dict[str, str] = {}

    @classmethod
    def here(cls) -> _Notebook | None:
        """Where this process is a notebook's kernel; IPython is not imported to find out."""
        interactive = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        if interactive is None or not hasattr(interactive, "kernel"):
            return None
        from IPython.display import display

        return cls(display)

    def show(self, line: str, share: float | None) -> None:
        value = "" if share is None else f' value="{share:.4f}"'
        self._last = {"text/plain": line, "text/html": f"<progress{value}></progress> {html.escape(line)}"}
        if self._output is None:
            self._output = self._display(self._last, raw=True, display_id=True)
        elif time.monotonic() - self._shown_at >= LIVE_EVERY_S:
            self._output.update(self._last, raw=True)
        else:
            return
        self._shown_at = time.monotonic()

    def close(self) -> None:
        if self._output is not None:
            self._output.update(self._last, raw=True)
