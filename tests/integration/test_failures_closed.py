"""A failure of an analysis is open until there is a result: by a retry, by another version, or by a run that was killed
before it said so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.analyze import analyze_all
from jobs.cli import Invocation
from jobs.quarantine import retry_all
from lake.analysis.plan import Planner
from lake.analysis.registry import ANALYSES
from lake.catalog.query import local_sql
from lake.errors import UsageError
from lake.tables import Tables
from tests.support.analysis_media import tone
from tests.support.lakes import Lake, OneEngine

pytestmark = pytest.mark.timeout(240)

COUNTS = """
import pyarrow as pa
from lake.analysis.base import Analysis
from lake.errors import Damaged


def run(media, params):
    if media.data.startswith({fails!r}):
        raise Damaged("it is not liked")
    yield {row}


ANALYSIS = Analysis("letters", {version!r}, ("document",), (), pa.schema({fields}), run)
"""


class Letters:
    """An analysis of a user's own that becomes another one."""

    def __init__(self, folder: Path, lake: Lake) -> None:
        self.file = folder / "letters.py"
        # A wave for each recording.
        small = lake.job.settings.analysis.model_copy(update={"wave_max_recordings": 1})
        lake.job = replace(lake.job, settings=lake.job.settings.model_copy(update={"analysis": small}))
        self.lake = lake
        self.engines = OneEngine(lake.job, lake.engine)

    def is_now(
        self,
        version: str,
        fails: bytes = b"-",
        row: str = '{"n": len(media.data)}',
        fields: str = '[("n", pa.int64())]',
    ) -> None:
        self.file.write_text(COUNTS.format(version=version, fails=fails, row=row, fields=fields))

    def analyze(self) -> tuple[int, int, int]:
        document = analyze_all(self.lake.job, Invocation(json=True), (), self.engines, modules=[str(self.file)])
        counts = document["analyses"]["letters"]
        return counts["done"], counts["skipped"], counts["failed"]

    def retry(self) -> tuple[int, int, int]:
        document = retry_all(self.lake.job, Invocation(json=True), self.engines, modules=[str(self.file)])
        return document["tried"], document["mended"], document["failed"]

    def open(self) -> list[tuple[str, int]]:
        """Version and attempt of what is open."""
        rows = local_sql(self.lake.job.tables, "SELECT analysis_version, attempt FROM quarantine_open ORDER BY ALL")
        return [(row["analysis_version"], row["attempt"]) for row in rows.to_pylist()]


@pytest.fixture
def letters(local_lake: Lake, tmp_path: Path) -> Letters:
    (tmp_path / "in").mkdir()
    for text in ("one", "two"):
        (tmp_path / "in" / f"{text}.txt").write_text(f"{text} is written here\n")
    local_lake.ingest(tmp_path / "in")
    return Letters(tmp_path, local_lake)


def test_by_a_result_of_another_version(letters: Letters) -> None:
    letters.is_now("1", fails=b"two")
    assert (letters.analyze(), letters.open()) == ((1, 0, 1), [("1", 1)])
    assert (letters.retry(), letters.open()) == ((1, 0, 1), [("1", 2)])
    letters.is_now("2", fails=b"two")
    assert (letters.analyze(), letters.open()) == ((1, 0, 1), [("1", 2), ("2", 1)])
    letters.is_now("3")
    assert (letters.analyze(), letters.open()) == ((2, 0, 0), [])
    assert letters.retry() == (0, 0, 0)
    last = [row for row in letters.lake.rows("quarantine") if row["error_class"] is None]
    assert sorted((row["analysis_version"], row["attempt"]) for row in last) == [("1", 3), ("2", 2)]
    assert letters.lake.versions() == (letters.analyze(), letters.lake.versions())[1], "nothing is said twice"


def test_by_a_retry_with_another_version(letters: Letters) -> None:
    letters.is_now("1", fails=b"two")
    letters.analyze()
    letters.is_now("2")
    assert (letters.retry(), letters.open()) == ((1, 1, 0), [])


def test_by_the_next_run_where_one_was_killed_before_it_said_so(
    letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters.is_now("1", fails=b"two")
    letters.analyze()
    letters.is_now("1")
    append = Tables.append

    def killed(tables: Tables, name: str, rows: Any, **options: Any) -> int:
        if name == "quarantine":
            raise KeyboardInterrupt
        return append(tables, name, rows, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Tables, "append", killed)
        with pytest.raises(KeyboardInterrupt):
            letters.retry()
    assert letters.open() == [("1", 1)]
    assert (letters.retry(), letters.open()) == ((1, 1, 0), [])
    assert len(letters.lake.rows("feature_letters")) == 2


def test_a_version_may_have_more_fields_than_the_table(letters: Letters) -> None:
    letters.is_now("1")
    letters.analyze()
    fields = '[("n", pa.int64()), ("first", pa.string())]'
    letters.is_now("2", row='{"n": 1, "first": media.data[:3].decode()}', fields=fields)
    assert letters.analyze() == (2, 0, 0)
    letters.lake.job.tables.merge_files("feature_letters")
    rows = local_sql(letters.lake.job.tables, "SELECT analysis_version, first FROM feature_letters ORDER BY ALL")
    assert [tuple(row.values()) for row in rows.to_pylist()] == [("1", None)] * 2 + [("2", "one"), ("2", "two")]
    letters.is_now("3", row='{"n": "many"}', fields='[("n", pa.string())]')
    before = letters.lake.versions()
    with pytest.raises(UsageError, match="letters: the field 'n' is string, and long in feature_letters: give it anot"):
        letters.analyze()
    assert letters.lake.versions() == before


def test_the_name_by_which_more_is_known_of_a_content_counts(local_lake: Lake, tmp_path: Path) -> None:
    """Raw samples are sound by their name alone, and broken by a name that promises something else."""
    samples = (tone(2.0, 440.0, 0.3, 16_000) * 32_000).astype("<i2").tobytes()
    for number, names in enumerate((["a.dat", "b.raw"], ["c.raw", "d.dat"], ["e.mp4", "f.raw"])):
        (tmp_path / str(number)).mkdir()
        for name in names:
            (tmp_path / str(number) / name).write_bytes(samples[number * 2 :])
        local_lake.ingest(tmp_path / str(number))
    kinds = {row["path"]: row["media_kind"] for row in local_lake.rows("assets")}
    assert [kinds[name] for name in ("a.dat", "b.raw", "c.raw", "d.dat", "f.raw")] == [
        *("other", "audio", "audio", "other", "audio")
    ]
    assert [row["path"] for row in local_lake.rows("quarantine")] == ["e.mp4"]
    planner = Planner(local_lake.job.tables, [ANALYSES["loudness"]])
    work = [(item.media_kind, item.content_type) for item in planner.work()]
    planner.close()
    assert work == [("audio", "audio/L16")] * 3
