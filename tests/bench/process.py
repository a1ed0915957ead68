"""One measured process: its document, its time and the peak of the memory that it and its children hold."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
STARTED = "BENCH_STARTED"
SAMPLE_EVERY_S = 0.05


@dataclass(frozen=True)
class Measured:
    """What one process said and cost."""

    document: dict[str, Any]
    """The last line of its standard output."""
    wall_s: float
    cpu_s: float
    """Of the process and of all below it that it waited for."""
    peak_bytes: int
    held: list[tuple[str, int]]
    """Name and bytes of each process at the peak, largest first; empty when not sampled."""


def run(
    *arguments: str, environ: Mapping[str, str] | None = None, sampled: bool = False, expect: Sequence[int] = (0,)
) -> Measured:
    """Run ``python -m`` with these arguments to its end; any exit status but the expected raises with what it said."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **(environ or {}), STARTED: repr(time.time())}
    started, used_s = time.perf_counter(), _children_cpu_s()
    with subprocess.Popen(
        [sys.executable, "-P", "-m", *arguments],
        env=environment,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        with PeakMemory(process.pid, enabled=sampled) as memory:
            out, err = process.communicate()
        wall_s = time.perf_counter() - started
    cpu_s = _children_cpu_s() - used_s
    if process.returncode not in expect:
        raise RuntimeError(
            f"{' '.join(arguments[:3])} ended with {process.returncode}: {err.decode(errors='replace').strip()[-2000:]}"
        )
    lines = out.strip().splitlines()
    document = json.loads(lines[-1]) if lines and lines[-1].startswith(b"{") else {}
    return Measured(document, wall_s, cpu_s, memory.peak_bytes, memory.held)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def since_start_s() -> float:
    """Seconds since this process was started by ``run``: the interpreter's start and the imports are in."""
    return time.time() - float(os.environ[STARTED])


class PeakMemory:
    """Samples the memory of a process and all below it. Shared pages count once (PSS, proc_pid_smaps_rollup(5))."""

    def __init__(self, pid: int, *, enabled: bool = True) -> None:
        self.pid = pid
        self.peak_bytes = 0
        self.held: list[tuple[str, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="peak-memory", daemon=True) if enabled else None

    def __enter__(self) -> PeakMemory:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_EVERY_S):
            held = tree_memory(self.pid)
            total = sum(size for _, size in held)
            if total > self.peak_bytes:
                self.peak_bytes, self.held = total, held


def tree_memory(pid: int) -> list[tuple[str, int]]:
    """Name and proportional set size of a process and its descendants, largest first."""
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    return sorted(((_name(p), _pss_bytes(p.pid)) for p in processes), key=lambda held: -held[1])


def _pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0  # ended between the listing and the look
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _name(process: psutil.Process) -> str:
    try:
        words = process.cmdline()
    except psutil.Error:
        return "?"
    module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
    return module or Path(words[0]).name if words else "?"
