"""What a task measures of its recordings for the record of the run. Works on the executor; pickles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from lake.analysis.costs import NOTHING, Group, Load
from lake.analysis.plan import WorkItem
from lake.media.sandbox import Sandbox
from lake.memory import peak_resident_bytes
from lake.slowest import Slow, slowest_of


@dataclass(frozen=True)
class Measured:
    """What one task measured: bounded, but for some bytes of numbers a recording."""

    seconds: list[float] = field(default_factory=list)
    """Of every recording that was worked on, also of those that failed."""
    slowest: list[Slow] = field(default_factory=list)
    timings: dict[Group, list[tuple[int, float]]] = field(default_factory=dict)
    """(bytes that it weighs, core-seconds) of those in which nothing failed: what failed is not worked on again, and
    an endless one would tell its limit of time."""
    loads: dict[Group, Load] = field(default_factory=dict)
    """All recordings of the task: what it takes off what there is to do."""
    model_loads: int = 0
    """How often decoding children loaded a model meanwhile."""
    peak_memory_bytes: int | None = None
    """Largest resident set so far of this process or of one of its decoding children."""


def measured(
    items: Collection[WorkItem],
    seconds: Mapping[str, float],
    failed: Collection[str],
    sandbox: Sandbox,
    loads_then: int,
) -> Measured:
    """Of a task's items, the seconds by sha256; ``loads_then`` were the loads of models when the task began."""
    timings: dict[Group, list[tuple[int, float]]] = defaultdict(list)
    loads: dict[Group, Load] = {}
    for item in items:
        group = item.group
        loads[group] = loads.get(group, NOTHING).plus(item.load)
        took_s = seconds.get(item.ref.sha256)
        if took_s is not None and item.ref.sha256 not in failed:
            # As though it had had one core: the next plan decides anew how many it gets.
            timings[group].append((item.load.weight_bytes, took_s * item.threads))
    worked_on = (
        Slow(item.ref.sha256, seconds[item.ref.sha256], item.ref.size_bytes, item.media_kind)
        for item in items
        if item.ref.sha256 in seconds
    )
    peaks = [peak for peak in (peak_resident_bytes(), sandbox.peak_memory_bytes) if peak is not None]
    return Measured(
        list(seconds.values()),
        slowest_of(worked_on),
        dict(timings),
        loads,
        sandbox.model_loads - loads_then,
        max(peaks, default=None),
    )
