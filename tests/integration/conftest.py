"""A filled lake for the tests that only read: made once, by the embedded engine alone."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.cli import Invocation
from jobs.models import add_model
from lake.engine import Engine
from lake.schema import LIBRARY_VERSIONS
from lake.store.tombstones import certify
from lake.tables import Tables, rows_table
from tests.integration.test_crash import source
from tests.support import tiny_models
from tests.support.lakes import Lake, new_lake

ODD = pa.table(
    {
        "select": pa.array([1, 2, None], pa.int64()),
        "Größe": pa.array([Decimal("1.50"), Decimal("-99999999.99"), None], pa.decimal128(10, 2)),
        "at": pa.array(
            [datetime(2026, 3, 1, 8, 0, 0, 5, UTC), datetime(1970, 1, 1, tzinfo=UTC), None], pa.timestamp("us", "UTC")
        ),
        "raw": pa.array([b"\x00\xff", b"", None], pa.binary()),
        "said": pa.array(["tab\there 行\n", "'\"`;--", None], pa.string()),
        "many": pa.array([["a", None], [], None], pa.list_(pa.string())),
        "level": pa.array([0.1, -1.5, None], pa.float64()),
        "ok": pa.array([True, False, None], pa.bool_()),
    }
)
"""Values of every type that a table may hold, under names that need quoting."""


CERTIFIED = {
    "erasure_id": "e",
    "name": "5e" * 32,
    "size_bytes": 3,
    "reason": "asked for",
    "at_utc": datetime(2026, 3, 1, tzinfo=UTC),
}
"""Of an erasure that was ended."""


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory, local_engine: Engine) -> Lake:
    """Recordings of every kind with their features, and two libraries that go on being written after publication."""
    folder = tmp_path_factory.mktemp("filled")
    lake = new_lake(str(folder / "lake"), local_engine)
    lake.ingest(source(folder / "in"))
    lake.ingest(_later(folder / "in"))
    lake.analyze("document_text", "keyframes", "loudness", "image_hash")
    lake.scrub()
    certify(lake.job.tables, [CERTIFIED | {"kind": kind} for kind in ("content", "done")])
    add_model(lake.job, Invocation(json=True), "vad/loud", tiny_models.loud_vad(folder / "vad"), "MIT")
    publish(lake.job.tables, "site_watch", "shots", pa.table({"asset_id": ["a", "b"], "start_s": [0.0, 1.5]}))
    publish(lake.job.tables, "Order", "group", ODD)
    return lake


def _later(folder: Path) -> Path:
    """One recording changes: its path has two arrivals and two assets."""
    (folder / "a.txt").write_text("other words\n", encoding="utf-8")
    return folder


def publish(tables: Tables, library: str, table: str, rows: pa.Table) -> None:
    """A library's table at its first version, and rows after it that are not published."""
    name = f"{library}.{table}"
    tables.create(name, rows.schema)
    version = tables.append(name, rows)
    tables.append(name, rows)
    recorded = {
        "library": library,
        "version": 1,
        "table": table,
        "delta_version": version,
        "rows": rows.num_rows,
        "quality": '{"rules": []}',
        "inputs": "{}",
        "built_at_utc": datetime(2026, 3, 1, tzinfo=UTC),
    }
    tables.append("library_versions", rows_table([recorded], LIBRARY_VERSIONS))
