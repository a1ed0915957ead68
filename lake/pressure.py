"""How many bytes a task may hold while the memory of its machine, or of its container, is short.

Nothing is short on an idle machine, so a bound stays what it is. Where other work takes the memory, buffers shrink
before the kernel ends a process, and grow again when it is over. Runs wherever something is buffered.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

TASKS_SHARE = 4
"""The buffers of all tasks of a machine together take at most one in so many of the bytes that are available."""
LEAST_SHARE = 16
"""A bound never shrinks to less than one in so many: work goes on."""
LOOK_EVERY_S = 1.0


def bounded(most_bytes: int, available_bytes: int, tasks: int) -> int:
    """The bound of one of so many tasks, ``most_bytes`` where memory is not short. Pure."""
    fair_bytes = available_bytes // (TASKS_SHARE * max(1, tasks))
    return max(most_bytes // LEAST_SHARE, min(most_bytes, fair_bytes))


def available_bytes(root: Path = Path("/")) -> int | None:
    """What processes here can still have: by the machine, and by every control group they are in; None if no Linux.

    ``root`` is where the files of the kernel are looked for.
    """
    found = [_of_machine(root), *_of_groups(root)]
    return min((size for size in found if size is not None), default=None)


class Pressure:
    """Bounds by the memory that is available now; looks every ``LOOK_EVERY_S`` at most, says once that it is short."""

    def __init__(
        self,
        look: Callable[[], int | None] = available_bytes,
        tasks: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._tasks = tasks or os.cpu_count() or 1
        self._clock = clock
        self._looked_at: float | None = None
        self._available: int | None = None
        self._said = False

    def bound(self, most_bytes: int) -> int:
        """What may be held of ``most_bytes`` now."""
        now = self._clock()
        if self._looked_at is None or now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at, self._available = now, self._look()
        if self._available is None:
            return most_bytes
        bound = bounded(most_bytes, self._available, self._tasks)
        if bound < most_bytes and not self._said:
            self._said = True
            logging.getLogger(__name__).warning(
                "memory is short here (%d MiB available): buffers are smaller meanwhile",
                self._available >> 20,
            )
        return bound


PRESSURE = Pressure()
"""That of this process."""


def _of_machine(root: Path) -> int | None:
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _of_groups(root: Path) -> Iterator[int]:
    """What is left in each control group of this process and in those around it, of version 2 and version 1."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
        mount = root / "sys/fs/cgroup" / ("memory" if controllers else "")
        inside = mount / path.strip("/")
        # In a container the path may be one of the host's, and the container's own group is at the mount.
        for folder in (inside, *inside.parents):
            if folder == mount.parent:
                break
            limit, used = (_text(folder / name).strip() for name in names)
            if limit.isdigit() and used.isdigit():
                yield max(0, int(limit) - int(used) + _reclaimable(folder))


def _reclaimable(folder: Path) -> int:
    """Bytes of files that the kernel lets go when it needs them: they count as used."""
    stat = dict(line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines() if " " in line)
    value = stat.get("total_inactive_file", stat.get("inactive_file", ""))
    return int(value) if value.isdigit() else 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
