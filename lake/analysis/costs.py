"""What a recording costs: by constants at first, then by what recordings like it took in earlier runs. Pure.

The cost of a recording is a line, so much to open it and so much a byte, for each group: a media kind under one set of
analyses. What is kept of a group are a few sums, so a run's record of it is small and runs are added up. Read in
docs/decisions/0017 why it is this line, and what keeps one odd recording from moving it.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

COST_FACTOR = {"video": 1.0, "audio": 0.4, "image": 2.0, "document": 4.0, "table": 0.1, "other": 0.1}
"""Relative decoding cost of a byte, by media kind."""
PIVOT_BYTES = 256 * 1024
"""Opening a recording costs as much as so many bytes with a factor of 1. The sums in ``run_stages`` are made with it: a
new value needs a new column."""
PRIOR_RECORDS = 4.0
"""The constants count as much as so many recordings would."""
OUTLIER = 32.0
"""A recording counts as at most so many times the middle one of its group."""
MOST_S = 86_400.0
"""No recording takes longer."""
MOST, LEAST = 64.0, 1 / 1024
"""Bounds of what is learned, of the opening as of the byte, in units of the constant: an odd group cannot take a whole
plan, and what seems to cost nothing still costs something."""


class Group(NamedTuple):
    """Recordings of which one line says what they cost."""

    media_kind: str
    analyses: str
    """Their names, sorted, joined by +."""


def group_of(media_kind: str, analyses: Collection[str]) -> Group:
    return Group(media_kind, "+".join(sorted(analyses)))


@dataclass(frozen=True)
class Sums:
    """What recordings of a group took. With q = size + ``PIVOT_BYTES``: u = ``PIVOT_BYTES`` / q, z = seconds / q."""

    records: int = 0
    size_bytes: int = 0
    seconds: float = 0.0
    u: float = 0.0
    uu: float = 0.0
    z: float = 0.0
    uz: float = 0.0

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(Sums)))


class Line(NamedTuple):
    """Cost = (opening × ``PIVOT_BYTES`` + byte × size): seconds where something was learned, else just relative."""

    opening: float
    byte: float

    def of(self, records: int, size_bytes: int) -> float:
        return self.opening * PIVOT_BYTES * records + self.byte * size_bytes


@dataclass(frozen=True)
class Costs:
    """Predicts; what it says is positive, and comparable between all groups."""

    lines: Mapping[Group, Line]
    scale: float = 1.0
    """Of groups that nothing is known of: their constants times this."""

    def line(self, group: Group) -> Line:
        return self.lines.get(group) or _constants(group, self.scale)

    def of(self, group: Group, size_bytes: int) -> float:
        """Of one recording."""
        return self.line(group).of(1, size_bytes)

    def total(self, loads: Mapping[Group, Load]) -> float:
        """Of many."""
        return sum(self.line(group).of(*load) for group, load in loads.items())


class Load(NamedTuple):
    """How much of a group there is."""

    records: int
    size_bytes: int


CONSTANTS = Costs({})
"""What is assumed where nothing was learned yet."""


def summed(timings: Sequence[tuple[int, float]]) -> Sums:
    """The sums of one group's recordings, as (bytes, seconds); a hostile one counts as ``OUTLIER`` normal ones."""
    if not timings:
        return Sums()
    # The child says how long it took, and it is not trusted: no number (NaN) becomes 0 here.
    each = [(size, size + PIVOT_BYTES, min(max(0.0, seconds), MOST_S)) for size, seconds in timings]
    most = OUTLIER * statistics.median_low(seconds / q for _, q, seconds in each)
    points = [(PIVOT_BYTES / q, min(seconds / q, most)) for _, q, seconds in each]
    return Sums(
        len(each),
        sum(size for size, _, _ in each),
        sum(seconds for _, _, seconds in each),
        sum(u for u, _ in points),
        sum(u * u for u, _ in points),
        sum(z for _, z in points),
        sum(u * z for u, z in points),
    )


def merged(several: Iterable[Mapping[Group, Sums]]) -> dict[Group, Sums]:
    """Sums of several runs, or waves, together."""
    together: dict[Group, Sums] = defaultdict(Sums)
    for sums in several:
        for group, found in sums.items():
            together[group] += found
    return dict(together)


def learned(sums: Mapping[Group, Sums]) -> Costs:
    """The costs that sums tell of; the constants where they tell nothing.

    Least squares of z = opening·u + byte·(1 − u), to which the constants are added as ``PRIOR_RECORDS`` recordings.
    """
    told = {group: found for group, found in sums.items() if found.records > 0 and found.z > 0}
    if not told:
        return CONSTANTS
    scales = {group: found.z / _predicted(found, _constants(group, 1.0)) for group, found in told.items()}
    middle = _middle([(scales[group], found.records) for group, found in told.items()])
    lines = {}
    for group, found in told.items():
        # Analyses differ by factors of thousands, so a group has a scale of its own, as far as it was seen.
        weight = found.records / (found.records + PRIOR_RECORDS)
        own = middle * (scales[group] / middle) ** weight
        lines[group] = _fitted(found, _constants(group, own))
    return Costs(lines, middle)


def _constants(group: Group, scale: float) -> Line:
    return Line(scale, scale * COST_FACTOR.get(group.media_kind, COST_FACTOR["other"]))


def _middle(scales: list[tuple[float, int]]) -> float:
    """Of scales with the number of their recordings: that of the recording in the middle. No odd group moves it."""
    half, passed = sum(records for _, records in scales) / 2, 0
    for scale, records in sorted(scales):
        passed += records
        if passed >= half:
            return scale
    raise AssertionError("unreachable: all of them are more than half")


def _predicted(sums: Sums, line: Line) -> float:
    return line.opening * sums.u + line.byte * (sums.records - sums.u)


def _fitted(sums: Sums, prior: Line) -> Line:
    """The line nearest to the sums and to the prior. Both of its parts stay within the bounds."""
    # In units of the prior, so that both parts are drawn to 1 equally hard.
    a, b = prior.opening, prior.byte
    uu, uv = sums.uu * a * a, (sums.u - sums.uu) * a * b
    vv = (sums.records - 2 * sums.u + sums.uu) * b * b
    uz, vz = sums.uz * a, (sums.z - sums.uz) * b
    # The prior weighs as PRIOR_RECORDS recordings of this group would.
    pull = PRIOR_RECORDS * (uu + vv) / (2 * sums.records)
    uu, vv, uz, vz = uu + pull, vv + pull, uz + pull, vz + pull
    opening, byte = (uz * vv - vz * uv) / (uu * vv - uv * uv), (vz * uu - uz * uv) / (uu * vv - uv * uv)
    if opening != _bound(opening):
        opening = _bound(opening)
        byte = (vz - uv * opening) / vv
    if byte != _bound(byte):
        byte = _bound(byte)
        opening = _bound((uz - uv * byte) / uu)
    return Line(a * opening, b * byte)


def _bound(part: float) -> float:
    return min(max(part, LEAST), MOST)


def to_rows(sums: Mapping[Group, Sums]) -> list[dict[str, Any]]:
    """As ``run_stages.costs`` has them."""
    return [
        {**group._asdict(), **{each.name: getattr(found, each.name) for each in fields(Sums)}}
        for group, found in sorted(sums.items())
    ]


def of_rows(rows: Iterable[Mapping[str, Any]]) -> dict[Group, Sums]:
    """What ``to_rows`` made."""
    return {Group(row["media_kind"], row["analyses"]): Sums(*(row[each.name] for each in fields(Sums))) for row in rows}
