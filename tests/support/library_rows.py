"""Rows for the tables that libraries are built from, and small libraries to build."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lake.analysis.registry import ANALYSES
from lake.library.spec import Theme, load_theme
from lake.model import Row
from lake.schema import ASSETS
from lake.tables import Tables, rows_table

BEGIN_UTC = datetime(2026, 3, 1, 8, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGIN_UTC + timedelta(seconds=seconds)


def asset(asset_id: str, *, start_s: float | None = 0.0, **fields: Any) -> Row:
    """A recording; its content is named after it unless ``sha256`` is given."""
    return {
        "asset_id": asset_id,
        "sha256": f"sha-{asset_id}",
        "path": f"{asset_id}.bin",
        "media_kind": "video",
        "device_id": "cam",
        "captured_at_utc": None if start_s is None else at(start_s),
        "received_at_utc": at(100_000),
        "duration_s": 10.0,
        **fields,
    }


def add_assets(tables: Tables, *rows: Row) -> None:
    tables.append("assets", rows_table(rows, ASSETS))


def add_results(tables: Tables, analysis: str, *rows: Row, **origin: str) -> None:
    """Results of an analysis at today's version and parameters, unless ``origin`` says otherwise."""
    known = ANALYSES[analysis]
    base = {
        "analysis_version": known.version,
        "params_hash": known.params_hash(),
        "run_id": "20260301T090000",
        **origin,
    }
    tables.create(known.table, known.schema)
    tables.append(known.table, rows_table([{**base, **row} for row in rows], known.schema))


def theme(folder: Path, tables_yaml: str, *, name: str = "small", inputs: str = "[assets]") -> Theme:
    """A library with the given tables."""
    head = f"name: {name}\ntitle: {{zh: 小, en: Small}}\nowner: Tests\ninputs: {inputs}\ntables:\n"
    path = folder / f"{name}.yaml"
    path.write_text(head + tables_yaml, "utf-8")
    return load_theme(path)
