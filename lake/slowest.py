"""The recordings that took longest: a few of millions, for the record of a run."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import NamedTuple

SLOWEST = 10
"""Recordings named in the record of a stage."""


class Slow(NamedTuple):
    """One of them, as ``run_stages.slowest`` has it."""

    sha256: str | None
    seconds: float
    size_bytes: int | None
    media_kind: str | None


def slowest_of(several: Iterable[Slow]) -> list[Slow]:
    """The slowest ones, slowest first. Holds no more of them than it returns."""
    return heapq.nsmallest(SLOWEST, several, key=lambda one: (-one.seconds, one.sha256 or ""))
