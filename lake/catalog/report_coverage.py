"""When each device recorded: a strip of time a device, and the gaps in it. Bounded by buckets, not by recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median

from lake.catalog.report_tables import Snapshot
from lake.model import Row

BUCKETS = 600
MAX_STRIPS = 40
MAX_GAPS = 10
GAP_S = 1.0
"""Less than this between two recordings is how devices cut files, not a gap."""
OWN_AXIS_FROM = 20
"""Strips share one time axis unless it is this many times longer than the median of their own spans."""
LEVELS = 4

_SPANS = """spans AS (
  SELECT coalesce(device_id, '') AS device, epoch(captured_at_utc) AS s,
    epoch(captured_at_utc) + CASE WHEN duration_s > 0 AND isfinite(duration_s) THEN duration_s ELSE 0 END AS e,
    coalesce(duration_s > 0 AND isfinite(duration_s), false) AS lasting
  FROM assets WHERE captured_at_utc IS NOT NULL)"""
_ORDERED = """ordered AS (
  SELECT *, max(e) OVER (PARTITION BY device ORDER BY s, e ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS until
  FROM spans WHERE lasting)"""
_AXES = "axes AS (SELECT unnest($devices) AS device, unnest($starts) AS t0, unnest($widths) AS w)"


@dataclass(frozen=True)
class Gap:
    """A time in which a device recorded nothing although it did before and after."""

    start_utc: datetime
    end_utc: datetime
    seconds: float
    x: float
    width: float


@dataclass
class Strip:
    """One device's time: what is covered, what is missing, and single moments (pictures, scans)."""

    device_id: str
    start_s: float
    end_s: float
    axis_start_s: float = 0.0
    axis_end_s: float = 0.0
    covered_s: float = 0.0
    lasting: int = 0
    bars: list[tuple[int, int, int]] = field(default_factory=list)
    """(first bucket, buckets, level of 1 to ``LEVELS``)"""
    ticks: list[int] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    gap_total: int = 0
    gap_s: float = 0.0

    @property
    def start_utc(self) -> datetime:
        return _utc(self.start_s)

    @property
    def end_utc(self) -> datetime:
        return _utc(self.end_s)

    @property
    def bucket_s(self) -> float:
        return (self.axis_end_s - self.axis_start_s) / BUCKETS


@dataclass(frozen=True)
class Coverage:
    """The strips; ``axis`` are times along the one axis they share, empty when each has its own."""

    strips: list[Strip]
    axis: list[tuple[float, datetime]]
    more: int


def coverage(snapshot: Snapshot) -> Coverage:
    """Strips of the devices with the most dated recordings, by device id."""
    query = f"""WITH {_SPANS} SELECT device, min(s) AS s, max(e) AS e, count(*) AS n, count(*) OVER () AS total,
        count(*) FILTER (lasting) AS lasting FROM spans GROUP BY device ORDER BY n DESC, device LIMIT $most"""  # noqa: S608
    rows = snapshot.rows(query, most=MAX_STRIPS)
    strips = [Strip(row["device"], row["s"], row["e"], lasting=row["lasting"]) for row in rows]
    if not strips:
        return Coverage([], [], 0)
    strips.sort(key=lambda strip: (not strip.device_id, not strip.lasting, strip.device_id))
    axis = _set_axes(strips)
    by_device = {strip.device_id: strip for strip in strips}
    for strip_row in _buckets(snapshot, strips):
        _draw(by_device[strip_row["device"]], strip_row)
    for strip in strips:
        strip.bars = joined(strip.bars)
    for gap_row in _gaps(snapshot, strips):
        _add_gap(by_device[gap_row["device"]], gap_row)
    return Coverage(strips, axis, rows[0]["total"] - len(strips))


def _set_axes(strips: Sequence[Strip]) -> list[tuple[float, datetime]]:
    start_s, end_s = min(s.start_s for s in strips), max(s.end_s for s in strips)
    typical_s = median(s.end_s - s.start_s for s in strips)
    shared = end_s - start_s <= max(1.0, OWN_AXIS_FROM * typical_s)
    for strip in strips:
        first_s, last_s = (start_s, end_s) if shared else (strip.start_s, strip.end_s)
        strip.axis_start_s, strip.axis_end_s = first_s, max(last_s, first_s + 1.0)
    if not shared:
        return []
    length_s = strips[0].axis_end_s - start_s
    return [(share, _utc(start_s + share * length_s)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]


def _buckets(snapshot: Snapshot, strips: Sequence[Strip]) -> list[Row]:
    """Seconds covered in each bucket of each strip, and buckets that hold single moments."""
    query = f"""WITH {_AXES}, {_SPANS}, {_ORDERED},
      numbered AS (SELECT device, s, e, count(*) FILTER (until IS NULL OR s > until)
        OVER (PARTITION BY device ORDER BY s, e ROWS UNBOUNDED PRECEDING) AS island FROM ordered),
      islands AS (SELECT device, min(s) AS s, max(e) AS e FROM numbered GROUP BY device, island),
      cut AS (SELECT device, s, e, t0, w, unnest(range(
          greatest(0, least($last, floor((s - t0) / w)))::BIGINT,
          greatest(0, least($last, floor((e - t0) / w)))::BIGINT + 1)) AS bucket
        FROM islands JOIN axes USING (device))
      SELECT device, bucket, 'covered' AS what,
        sum(greatest(0, least(e, t0 + (bucket + 1) * w) - greatest(s, t0 + bucket * w))) AS seconds
      FROM cut GROUP BY device, bucket
      UNION ALL
      SELECT DISTINCT device, greatest(0, least($last, floor((s - t0) / w)))::BIGINT AS bucket, 'moment' AS what, 0.0
      FROM spans JOIN axes USING (device) WHERE NOT lasting
      ORDER BY device, bucket"""  # noqa: S608
    return snapshot.rows(query, last=BUCKETS - 1, **_axes(strips))


def _gaps(snapshot: Snapshot, strips: Sequence[Strip]) -> list[Row]:
    """The longest gaps of each strip, in the order of time."""
    query = f"""WITH {_AXES}, {_SPANS}, {_ORDERED},
      gaps AS (SELECT device, until AS s, s AS e, count(*) OVER (PARTITION BY device) AS total,
          sum(s - until) OVER (PARTITION BY device) AS seconds,
          row_number() OVER (PARTITION BY device ORDER BY s - until DESC, s) AS place
        FROM ordered SEMI JOIN axes USING (device) WHERE s - until > $gap_s)
      SELECT * FROM gaps WHERE place <= $most ORDER BY device, s"""  # noqa: S608
    return snapshot.rows(query, gap_s=GAP_S, most=MAX_GAPS, **_axes(strips))


def _axes(strips: Sequence[Strip]) -> Row:
    return {
        "devices": [strip.device_id for strip in strips],
        "starts": [strip.axis_start_s for strip in strips],
        "widths": [strip.bucket_s for strip in strips],
    }


def _draw(strip: Strip, row: Row) -> None:
    if row["what"] == "moment":
        strip.ticks.append(row["bucket"])
        return
    strip.covered_s += row["seconds"]
    share = row["seconds"] / strip.bucket_s
    if share > 0:
        strip.bars.append((row["bucket"], 1, min(LEVELS, 1 + int(share * LEVELS * 1.001))))


def joined(bars: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Neighbours of one level as one bar."""
    made: list[tuple[int, int, int]] = []
    for first, count, level in bars:
        if made and made[-1][0] + made[-1][1] == first and made[-1][2] == level:
            made[-1] = (made[-1][0], made[-1][1] + count, level)
        else:
            made.append((first, count, level))
    return made


def _add_gap(strip: Strip, row: Row) -> None:
    x = (row["s"] - strip.axis_start_s) / strip.bucket_s
    seconds = row["e"] - row["s"]
    strip.gaps.append(Gap(_utc(row["s"]), _utc(row["e"]), seconds, x, max(1.0, seconds / strip.bucket_s)))
    strip.gap_total, strip.gap_s = row["total"], row["seconds"]


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
