"""What the report says in numbers and words: small results, counted by DuckDB, never a whole table."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from lake.catalog.report_tables import Snapshot
from lake.model import Row

MAX_DEVICES = 60
MAX_QUARANTINE = 200
MAX_GROUPS = 40
MAX_LIBRARY_ROWS = 100
MAX_RUNS = 15

REASONS = {
    "Unreadable": "the bytes could not be had: gone, changed while they were read, or no permission",
    "Damaged": "the bytes are there, but they are cut off or cannot be decoded",
    "Unsupported": "no decoder here reads this type",
    "Protected": "encrypted or behind a password, and no key is known",
    "LimitExceeded": "it takes more time, memory or room than one recording may use",
    "DecoderCrashed": "the decoder broke down over it; nothing else was harmed",
}
"""Error classes in plain words."""


@dataclass(frozen=True)
class Listing:
    """The first of many, and how many there are in all."""

    rows: list[Row]
    total: int

    @property
    def more(self) -> int:
        return max(0, self.total - len(self.rows))


@dataclass(frozen=True)
class QuarantineGroup:
    """Open failures of one kind."""

    stage: str
    analysis: str | None
    error_class: str
    reason: str
    total: int
    rows: list[Row]


@dataclass(frozen=True)
class LibraryVersion:
    """The last version of one thematic library."""

    name: str
    version: int
    built_at_utc: Any
    tables: list[Row]
    rules: list[Row] = field(default_factory=list)
    quality_text: str = ""
    """What the record of quality says when it is not in the known form."""

    @property
    def failed(self) -> list[Row]:
        return [rule for rule in self.rules if not rule["ok"]]


def totals(snapshot: Snapshot) -> Row:
    """The lake in one row."""
    query = """SELECT count(*) AS recordings, count(DISTINCT device_id) AS devices, sum(duration_s) AS seconds,
        sum(size_bytes) AS delivered_bytes, min(captured_at_utc) AS first_utc, max(captured_at_utc) AS last_utc
        FROM assets"""
    row: Row = snapshot.rows(query)[0]
    row |= snapshot.rows("SELECT count(*) AS contents, sum(size_bytes) AS bytes FROM blobs")[0]
    states = snapshot.rows("SELECT state, count(*) AS n FROM arrival_state GROUP BY state")
    return row | {"states": {state["state"]: state["n"] for state in states}}


def devices(snapshot: Snapshot) -> Listing:
    """Totals of each device, the largest first; recordings of no known device are one row with a null id."""
    query = """SELECT device_id, count(*) AS recordings, count(DISTINCT sha256) AS contents,
        sum(size_bytes) AS bytes, sum(duration_s) AS seconds, min(captured_at_utc) AS first_utc,
        max(captured_at_utc) AS last_utc, count(*) FILTER (captured_at_utc IS NULL) AS undated,
        count(*) OVER () AS total FROM assets GROUP BY device_id
        ORDER BY device_id IS NULL, recordings DESC, device_id LIMIT $most"""
    rows = snapshot.rows(query, most=MAX_DEVICES)
    lost = "SELECT device_id, count(*) AS n FROM arrival_state WHERE state = 'quarantined' GROUP BY 1"
    quarantined = {row["device_id"]: row["n"] for row in snapshot.rows(lost)}
    for row in rows:
        row["quarantined"] = quarantined.get(row["device_id"], 0)
    return Listing(rows, rows[0]["total"] if rows else 0)


def kinds(snapshot: Snapshot) -> list[Row]:
    """Totals of each media kind."""
    return snapshot.rows(
        """SELECT media_kind, count(*) AS recordings, count(DISTINCT sha256) AS contents, sum(size_bytes) AS bytes,
        sum(duration_s) AS seconds, sum(pages) AS pages FROM assets
        GROUP BY media_kind ORDER BY recordings DESC, media_kind""",
    )


def analyses(snapshot: Snapshot) -> list[Row]:
    """What was analysed: contents done and results found, by analysis."""
    from lake.analysis.registry import ANALYSES

    failed = {
        row["analysis"]: row["n"]
        for row in snapshot.rows("SELECT analysis, count(*) AS n FROM quarantine_open GROUP BY analysis")
    }
    found = []
    for name, analysis in ANALYSES.items():
        if f"feature_{name}" not in snapshot.names:
            continue
        # A row with a null piece says "analysed, nothing there"; an analysis without a piece has one row a content.
        filled = analysis.piece[0] if analysis.piece else "sha256"
        query = f"SELECT count(DISTINCT sha256) AS done, count({filled}) AS results FROM feature_{name}"  # noqa: S608
        found.append({"name": name, **snapshot.rows(query)[0], "failed": failed.get(name, 0)})
    return found


def quarantine(snapshot: Snapshot) -> tuple[list[QuarantineGroup], Listing]:
    """Open failures by kind, the most frequent first, and how many of all of them are listed."""
    groups = snapshot.rows(
        """SELECT stage, analysis, error_class, count(*) AS total FROM quarantine_open
        GROUP BY ALL ORDER BY total DESC, stage, analysis, error_class LIMIT $most""",
        most=MAX_GROUPS,
    )
    rows = snapshot.rows(
        """WITH chosen AS (
          SELECT stage, analysis, error_class, message, path, sha256, at_utc, attempt, count(*) OVER () AS total,
            row_number() OVER (PARTITION BY stage, analysis, error_class ORDER BY at_utc DESC, path) AS place
          FROM quarantine_open ORDER BY place, stage, analysis, error_class LIMIT $most)
        SELECT q.* EXCLUDE (path), coalesce(q.path, a.path) AS path FROM chosen q LEFT JOIN (
          SELECT sha256, min(path) AS path FROM assets WHERE sha256 IN (SELECT sha256 FROM chosen) GROUP BY sha256
        ) a USING (sha256) ORDER BY path, at_utc""",
        most=MAX_QUARANTINE,
    )
    made = [
        QuarantineGroup(
            **group,
            reason=REASONS.get(group["error_class"], "an error that has no name here; its text says more"),
            rows=[row for row in rows if all(row[k] == group[k] for k in ("stage", "analysis", "error_class"))],
        )
        for group in groups
    ]
    return made, Listing(rows, rows[0]["total"] if rows else 0)


def libraries(snapshot: Snapshot) -> list[LibraryVersion]:
    """The last version of every thematic library, with what its quality rules said."""
    query = """SELECT library, version, "table", rows, added, changed, removed, quality, built_at_utc
        FROM (SELECT *, max(version) OVER (PARTITION BY library) AS newest FROM library_versions)
        WHERE version = newest ORDER BY library, "table" LIMIT $most"""
    found: dict[str, list[Row]] = {}
    for row in snapshot.rows(query, most=MAX_LIBRARY_ROWS):
        found.setdefault(row["library"], []).append(row)
    return [_library(name, rows) for name, rows in found.items()]


def _library(name: str, rows: list[Row]) -> LibraryVersion:
    rules: dict[str, Row] = {}
    other: dict[str, None] = {}
    for row in rows:
        text = row["quality"] or ""
        read = read_rules(text)
        if read is None:
            other[text[:2000]] = None
        for rule in read or ():
            rules[json.dumps(rule, sort_keys=True)] = rule
    built = max((row["built_at_utc"] for row in rows if row["built_at_utc"]), default=None)
    return LibraryVersion(name, rows[0]["version"], built, rows, list(rules.values()), "\n".join(other))


def read_rules(text: str) -> list[Row] | None:
    """Quality rules from their JSON text, [] when there is none, None when it is not of the known form."""
    if not text.strip():
        return []
    try:
        rules = json.loads(text)["rules"]
        return [
            {
                "table": str(rule.get("table") or ""),
                "rule": str(rule["rule"]),
                "ok": bool(rule["ok"]),
                "failed_rows": rule.get("failed_rows"),
                "detail": str(rule.get("detail") or ""),
            }
            for rule in rules
        ]
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def runs(snapshot: Snapshot) -> Listing:
    """The newest runs, each in its last state."""
    query = """SELECT DISTINCT ON (run_id) * EXCLUDE (run_id), run_id, dense_rank() OVER (ORDER BY run_id) AS place
        FROM runs ORDER BY run_id DESC, state = 'running'"""
    rows = snapshot.rows(
        f"SELECT *, max(place) OVER () AS total FROM ({query}) ORDER BY run_id DESC LIMIT $most",  # noqa: S608
        most=MAX_RUNS,
    )
    return Listing(rows, rows[0]["total"] if rows else 0)
