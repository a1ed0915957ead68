"""Results carry their origin: one query leads from a row to its recording and says what is stale."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.analyze import _dry_run
from lake.analysis.registry import ANALYSES
from lake.catalog.query import local_sql
from lake.schema import PROVENANCE
from tests.support.lakes import Lake
from tests.support.recordings import recordings

pytestmark = pytest.mark.timeout(300)

MODEL = Path(__file__).resolve().parents[2] / "docs" / "data-model.md"


def test_every_result_leads_to_its_recording_and_says_when_it_is_stale(
    local_lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sounds = {r.name: r.data for r in recordings() if r.media_kind == "audio"}
    (tmp_path / "in").mkdir()
    for name, data in sounds.items():
        (tmp_path / "in" / name).write_bytes(data)
    local_lake.ingest(tmp_path / "in")
    first = local_lake.analyze("loudness", "speech")["run_id"]
    for table in ("feature_loudness", "feature_speech"):
        for row in local_lake.rows(table):
            known = {field.name for field in PROVENANCE if row[field.name] is not None}
            assert known >= {"sha256", "analysis_version", "params_hash", "run_id"}
            assert (row["model_hash"] is not None) == (table == "feature_speech")
    (query,) = re.findall(r"```sql\n(SELECT f\.sha256.*?)```", MODEL.read_text(encoding="utf-8"), re.S)
    rows = local_sql(local_lake.job.tables, query).to_pylist()
    assert {row["path"] for row in rows} == set(sounds)
    assert {(row["run_id"], row["stale"]) for row in rows} == {(first, False)}

    monkeypatch.setitem(ANALYSES, "loudness", replace(ANALYSES["loudness"], version="next"))
    assert _dry_run(local_lake.job, ["loudness"])["analyses"]["loudness"]["pending"] == len(sounds)
    second = local_lake.analyze("loudness", "speech")
    assert second["analyses"]["speech"]["done"] == 0, "a new version of one analysis runs that one only"
    rows = local_sql(local_lake.job.tables, query).to_pylist()
    assert {(row["run_id"], row["analysis_version"] == "next", row["stale"]) for row in rows} == {
        (first, False, True),
        (second["run_id"], True, False),
    }
