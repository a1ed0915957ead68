"""Rows of many recordings become a file together, and a recording whose rows fit no table costs itself alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.analysis import results as results_module
from lake.analysis.results import TOGETHER_BYTES, Found, Results
from lake.schema import feature_schema
from lake.store.objects import FolderStore

SCHEMA = feature_schema(("start_s",), pa.schema([("loudness_lufs", pa.float32())]))


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(FolderStore(str(tmp_path)), {"loudness": SCHEMA}, {"loudness": "feature_loudness"})


def found(number: int, rows: Any, size_bytes: int = 50) -> Found:
    origin = {"sha256": f"{number:064}", "analysis_version": "1", "params_hash": "p", "model_hash": None, "run_id": "r"}
    return Found("loudness", origin, rows, size_bytes)


def kept(results: Results, folder: Path) -> list[dict[str, Any]]:
    rows = []
    for file in results.files["loudness"]:
        rows += pq.read_table(folder / "feature_loudness" / file.path).to_pylist()
    return rows


def test_rows_keep_their_origin_and_nothing_found_is_a_row(results: Results, tmp_path: Path) -> None:
    assert not results.add(found(1, [{"start_s": 0.0, "loudness_lufs": -20.0}, {"start_s": 1.0, "sha256": "forged"}]))
    assert not results.add(found(2, []))
    assert not results.flush()
    read = [(row["sha256"][-1], row["start_s"], row["loudness_lufs"]) for row in kept(results, tmp_path)]
    assert read == [("1", 0.0, -20.0), ("1", 1.0, None), ("2", None, None)]
    assert (results.done, results.rows) == ({"loudness": 2}, 2)


@pytest.mark.parametrize("rows", [[{"start_s": "soon"}], [5], [{"loudness_lufs": [1.0]}], 7])
def test_who_fits_no_table_costs_itself_alone(results: Results, tmp_path: Path, rows: Any) -> None:
    for number in (1, 2, 3):
        assert not results.add(found(number, rows if number == 2 else [{"start_s": float(number)}]))
    (unfit,) = results.flush()
    assert unfit.found.origin["sha256"].endswith("2") and unfit.why
    assert [row["start_s"] for row in kept(results, tmp_path)] == [1.0, 3.0]
    assert (results.done, results.rows) == ({"loudness": 2}, 2)


def test_what_waits_is_bounded_in_bytes(results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_module, "FLUSH_BYTES", 0)
    results.add(found(1, [{"start_s": 1.0}], TOGETHER_BYTES - 1))
    assert not results.files
    results.add(found(2, [{"start_s": 2.0}], 1))
    assert [row["start_s"] for row in kept(results, tmp_path)] == [1.0, 2.0]
