"""What a recording costs: by constants at first, then by what recordings like it took in earlier runs. Pure.

The cost of a recording is a line, so much to open it and so much a byte that it weighs, for each group: a kind of
recordings under one set of analyses. It weighs its size, or where its duration is known what that would be in one
common form. What is kept of a group are a few sums, so a run's record of it is small and runs are added up. Read in
docs/decisions/0017 why it is this line, and what keeps one odd recording from moving it.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

COST_FACTOR = {"video": 1.0, "audio": 0.4, "image": 0.25, "document": 0.25, "table": 0.1, "other": 0.1}
"""Relative cost of a byte, by media kind: a second of film 15 ms, of sound 2.5 ms, a megabyte of photos 45 ms, of PDF
50 ms."""
SECOND_BYTES = 32_000
"""A second of audio weighs as much as 16 kHz in 16 bits, whatever it is stored in: a compressed one costs the same."""
PIXEL_BYTES = 1 / 48
"""A pixel of a frame of video weighs as much as it has in 640 x 360 at 25 Hz and 1 Mbit/s."""
MOST_WEIGHT = 64
"""A recording weighs at most so many times its size, and no less than one part in so many: what a header says of the
duration is not trusted."""
BY_DURATION, BY_SIZE = " by duration", " by size"
"""What is added to the media kind of recordings, by what their weight is."""
OPENING = 0.04
"""Relative cost of opening a recording, over ``PIVOT_BYTES``: 2 ms."""
PIVOT_BYTES = 256 * 1024
"""Where small recordings end: what the sums in ``run_stages`` are made with. A new value needs new names of the kinds
(``BY_SIZE``)."""
PRIOR_RECORDS = 4.0
"""The constants count as much as so many recordings would."""
OUTLIER = 32.0
"""A recording counts as at most so many times the middle one of its group."""
MOST_S = 86_400.0
"""No recording takes longer."""
NOTHING_TOLD = 1e-9
BYTE_BOUNDS = (1 / 16_384, 64.0)
OPENING_BOUNDS = (1 / 64, 1600.0)
"""Bounds of what is learned, in units of the constant: an odd group cannot take a whole plan, and what seems to cost
nothing still costs something."""


class Group(NamedTuple):
    """Recordings of which one line says what they cost."""

    kind: str
    """Media kind and what they are weighed by: ``audio by duration``."""
    analyses: str
    """Their names, sorted, joined by +."""


def group_of(kind: str, analyses: Collection[str]) -> Group:
    return Group(kind, "+".join(sorted(analyses)))


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
        return sum(self.line(group).of(load.records, load.weight_bytes) for group, load in loads.items())


class Load(NamedTuple):
    """How much of a group there is."""

    records: int
    size_bytes: int
    weight_bytes: int

    def plus(self, other: Load) -> Load:
        return Load(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


NOTHING = Load(0, 0, 0)
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
    kind = group.kind.removesuffix(BY_DURATION).removesuffix(BY_SIZE)
    return Line(scale * OPENING, scale * COST_FACTOR.get(kind, COST_FACTOR["other"]))


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
    # In units of the prior: both parts are drawn to 1.
    a, b = prior.opening, prior.byte
    uu, uv = sums.uu * a * a, (sums.u - sums.uu) * a * b
    vv = (sums.records - 2 * sums.u + sums.uu) * b * b
    uz, vz = sums.uz * a, (sums.z - sums.uz) * b
    # The prior weighs as PRIOR_RECORDS recordings of this group would.
    # Recordings that are all small, or all large, tell nothing of one part: it is the prior's then.
    pull = PRIOR_RECORDS / sums.records
    pull_a, pull_b = pull * max(uu, NOTHING_TOLD * vv), pull * max(vv, NOTHING_TOLD * uu)
    uu, vv, uz, vz = uu + pull_a, vv + pull_b, uz + pull_a, vz + pull_b
    opening, byte = (uz * vv - vz * uv) / (uu * vv - uv * uv), (vz * uu - uz * uv) / (uu * vv - uv * uv)
    if opening != _bound(opening, OPENING_BOUNDS):
        opening = _bound(opening, OPENING_BOUNDS)
        byte = (vz - uv * opening) / vv
    if byte != _bound(byte, BYTE_BOUNDS):
        byte = _bound(byte, BYTE_BOUNDS)
        opening = _bound((uz - uv * byte) / uu, OPENING_BOUNDS)
    return Line(a * opening, b * byte)


def _bound(part: float, bounds: tuple[float, float]) -> float:
    return min(max(part, bounds[0]), bounds[1])


def to_rows(sums: Mapping[Group, Sums]) -> list[dict[str, Any]]:
    """As ``run_stages.costs`` has them."""
    return [
        {
            "media_kind": group.kind,
            "analyses": group.analyses,
            **{each.name: getattr(found, each.name) for each in fields(Sums)},
        }
        for group, found in sorted(sums.items())
    ]


def of_rows(rows: Iterable[Mapping[str, Any]]) -> dict[Group, Sums]:
    """What ``to_rows`` made. Rows of versions that weighed otherwise tell nothing."""
    return {
        Group(row["media_kind"], row["analyses"]): Sums(*(row[each.name] for each in fields(Sums)))
        for row in rows
        if row["media_kind"].endswith((BY_DURATION, BY_SIZE))
    }
