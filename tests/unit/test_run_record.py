"""The record of a run: what it says of recordings, models and memory, also in a lake that is older than that."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from deltalake import DeltaTable

import lake.tables
from jobs.cli import Invocation
from jobs.runs import show
from lake.analysis.costs import Group, Load, learned, summed, to_rows
from lake.analysis.measured import Measured
from lake.analysis.models import Node, with_models
from lake.analysis.plan import LEARNED_FROM_RUNS, WorkItem, costs_so_far
from lake.analysis.registry import ANALYSES
from lake.analysis.runner import AnalyzeReport
from lake.analysis.worker import AnalysisContext, AnalysisOutput, _sandbox, run_analysis_task
from lake.catalog.create import MARKER
from lake.catalog.runs import RunRecord, record_run, show_run
from lake.media.limits import Limits
from lake.models.resolve import resolve
from lake.schema import RUN_STAGES, RUNS
from lake.slowest import SLOWEST, Slow, slowest_of
from lake.tables import Tables, rows_table
from tests.support import tiny_models
from tests.support.analysis_media import silence, tone, wav
from tests.support.packs import write_packs
from tests.unit.test_models import Place, place

__all__ = ["place"]

NOW = datetime(2026, 3, 1, tzinfo=UTC)
NEW = ("slowest", "model_loads", "peak_memory_bytes", "costs")
SOUND = Group("audio by size", "loudness")
SUMS = {SOUND: summed([(1000, 0.5), (2000, 0.7)])}


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    made = Tables(str(tmp_path / "lake"))
    made.create("runs", RUNS)
    made.create("run_stages", RUN_STAGES)
    return made


@pytest.fixture
def older(tmp_path: Path) -> Tables:
    """A lake that was made before stages said more than percentiles, with a run in it."""
    made = Tables(str(tmp_path / "older"))
    made.create("runs", RUNS)
    made.create("run_stages", pa.schema([field for field in RUN_STAGES if field.name not in NEW]))
    return made


def recorded(tables: Tables, verb: str = "analyze") -> str:
    with record_run(tables, None, verb, [], lambda: NOW) as run:
        told(run)
    return run.run_id


def told(run: RunRecord) -> None:
    run.stage(
        "analyze",
        rows_in=2,
        rows_out=2,
        rows_failed=0,
        size_bytes=3000,
        seconds=1.5,
        record_seconds=[0.5, 0.7],
        slowest=[Slow("b" * 64, 0.7, 2000, "audio"), Slow("a" * 64, 0.5, 1000, "audio")],
        model_loads=2,
        peak_memory_bytes=300_000_000,
        costs=to_rows(SUMS),
    )


def test_only_the_slowest_are_kept() -> None:
    many = [Slow(f"{number:064}", float(number % 1000), number, "audio") for number in range(5000)]
    found = slowest_of(many)
    assert [one.seconds for one in found] == [999.0] * 5 + [998.0] * 5 and len(found) == SLOWEST
    halves = [*slowest_of(many[::2]), *slowest_of(many[1::2])]
    assert slowest_of(halves) == found == slowest_of(reversed(many))


def test_a_stage_says_what_it_measured(tables: Tables) -> None:
    stage = show_run(tables, recorded(tables))[1]
    assert [slow["sha256"][0] for slow in stage["slowest"]] == ["b", "a"]
    assert stage["slowest"][0] == {"sha256": "b" * 64, "seconds": 0.7, "size_bytes": 2000, "media_kind": "audio"}
    assert (stage["model_loads"], stage["peak_memory_bytes"]) == (2, 300_000_000)


def test_what_a_stage_does_not_know_is_null(tables: Tables) -> None:
    with record_run(tables, None, "library build", [], lambda: NOW) as run:
        run.stage("build", rows_in=1, rows_out=1, rows_failed=0, size_bytes=0, seconds=1.0)
    assert [show_run(tables, run.run_id)[1][name] for name in NEW] == [None] * 4


def test_an_older_lake_gets_the_columns_with_its_next_run(older: Tables) -> None:
    stage = {"run_id": "20250101", "stage": "analyze", "rows_in": 7}
    names = [field for field in RUN_STAGES if field.name not in NEW]
    older.append("run_stages", rows_table([stage], pa.schema(names)))
    assert costs_so_far(older) == {}
    run_id = recorded(older)
    assert show_run(older, run_id)[1]["model_loads"] == 2
    rows = {row["run_id"]: row for row in older.dataset("run_stages").to_table().to_pylist()}
    assert rows["20250101"]["rows_in"] == 7 and rows["20250101"]["slowest"] is None
    assert costs_so_far(older) == SUMS
    version = older.open("run_stages").version()
    recorded(older)
    assert older.open("run_stages").version() == version + 1  # its rows, and no columns again


def test_another_run_may_give_an_older_lake_its_columns_meanwhile(
    older: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the columns and the commit that adds them."""
    lacking, others = lake.tables.lacking, []

    def then_another(table: DeltaTable, schema: pa.Schema) -> set[str]:
        found = lacking(table, schema)
        if found and len(others) < 2:  # the first look is that of the append, the second that of the commit
            others.append(found)
            if len(others) == 2:
                others.append(recorded(older, "another"))
        return found

    monkeypatch.setattr(lake.tables, "lacking", then_another)
    run_id = recorded(older)
    rows = older.dataset("run_stages").to_table().to_pylist()
    assert {row["run_id"] for row in rows} == {run_id, others[2]} and len(rows) == 2
    assert all(row["model_loads"] == 2 for row in rows)


def test_the_newest_runs_are_learned_from(tables: Tables) -> None:
    def stage(number: int, seconds: float | None, name: str = "analyze") -> dict[str, object]:
        costs = None if seconds is None else to_rows({SOUND: summed([(1000, seconds)])})
        return {"run_id": f"2026{number:04}", "stage": name, "costs": costs}

    rows = [stage(number, 1.0 if number < 30 else 4.0) for number in range(30 + LEARNED_FROM_RUNS)]
    rows += [stage(number, None) for number in range(100, 200)]  # runs that found nothing to do
    rows.append(stage(300, 50.0, "ingest"))
    for part in (rows[::2], rows[1::2]):
        tables.append("run_stages", rows_table(part, RUN_STAGES))
    assert costs_so_far(tables)[SOUND].records == LEARNED_FROM_RUNS
    assert learned(costs_so_far(tables)).of(SOUND, 1000) == pytest.approx(4.0)


def shown(tables: Tables, run_id: str, *, json_wanted: bool) -> str:
    Path(tables.root, MARKER).write_text("{}")
    done = CliRunner().invoke(show, [run_id], obj=Invocation(root=tables.root, json=json_wanted))
    assert done.exit_code == 0, done.output
    return done.stdout


def test_runs_show_says_it_readably_and_in_json(tables: Tables) -> None:
    run_id = recorded(tables)
    text = shown(tables, run_id, json_wanted=False)
    lines = text.splitlines()
    assert "model_loads\t2" in lines and "peak_memory_bytes\t300000000" in lines
    assert lines.index("seconds\tsize_bytes\tmedia_kind\tsha256") + 1 == lines.index(f"0.7\t2000\taudio\t{'b' * 64}")
    assert "audio by size\tloudness\t2\t3000\t1.2" in lines
    assert '{"' not in text
    stage = json.loads(shown(tables, run_id, json_wanted=True))["rows"][1]
    assert stage["slowest"][1]["sha256"] == "a" * 64
    assert stage["costs"][0]["uz"] == SUMS[SOUND].uz


# --- what a task brings


@pytest.fixture
def context(place: Place, tmp_path: Path) -> Iterator[AnalysisContext]:
    vad = resolve(f"path:{tiny_models.loud_vad(tmp_path / 'vad')}", place.tables, place.store, place.cache)
    speech = with_models(ANALYSES["speech"], {"speech": vad.uri}, lambda uri: vad)
    limits = Limits(output_bytes=200_000_001)  # limits of its own: a sandbox of its own
    yield AnalysisContext(
        place.store,
        {"speech": speech, "loudness": ANALYSES["loudness"]},
        {name: ANALYSES[name].key() for name in ("speech", "loudness")},
        {name: f"features/feature_{name}" for name in ("speech", "loudness")},
        "run",
        limits,
        10**7,
        None,
        node=Node(str(place.cache)),
    )
    _sandbox(limits, "").close()
    _sandbox.cache_clear()


def stored(place: Place, tmp_path: Path, contents: list[tuple[bytes, str]]) -> list[WorkItem]:
    refs = write_packs(place.store, tmp_path / "packing", [(data, kind, None) for data, kind in contents])
    return [WorkItem(ref, "audio", ref.content_type, ("loudness", "speech")) for ref in refs]


def task(context: AnalysisContext, items: list[WorkItem]) -> Measured:
    (payload,) = run_analysis_task(context, pickle.dumps(items))
    output: AnalysisOutput = pickle.loads(payload)
    assert len({sha256 for sha256, _, _ in output.failures}) == sum("broken" in item.content_type for item in items)
    return output.measured


def test_a_task_tells_its_recordings_models_and_memory(place: Place, tmp_path: Path, context: AnalysisContext) -> None:
    beeps = [wav(np.concatenate([silence(1), tone(seconds, 440, 0.3)])) for seconds in (1, 2, 3)]
    items = stored(place, tmp_path, [*((beep, "audio/x-wav") for beep in beeps), (b"no sound", "audio/broken")])
    found = task(context, items)
    group = Group("audio by size", "loudness+speech")
    assert len(found.seconds) == len(found.slowest) == 4 and min(found.seconds) > 0
    assert [one.seconds for one in found.slowest] == sorted(found.seconds, reverse=True)
    assert {one.sha256: one.size_bytes for one in found.slowest} == {i.ref.sha256: i.ref.size_bytes for i in items}
    assert [size for size, _ in found.timings[group]] == [len(beep) for beep in beeps]  # and not what failed
    size_bytes = sum(item.ref.size_bytes for item in items)
    assert found.loads == {group: Load(4, size_bytes, size_bytes)}
    assert found.model_loads == 1
    assert found.peak_memory_bytes is not None and found.peak_memory_bytes > 20_000_000

    again = task(context, [replace(items[0], threads=2)])
    assert again.model_loads == 0  # the child has it
    (one,) = again.timings[group]
    assert one == (len(beeps[0]), 2 * again.seconds[0])  # core-seconds
    _sandbox(context.limits, "").close()
    assert task(context, items[:1]).model_loads == 1  # a child that replaces it loads it again


def test_a_report_adds_up_what_tasks_tell() -> None:
    report = AnalyzeReport(
        loads_total={SOUND: Load(4, 4000, 4000), Group("video by size", "keyframes"): Load(1, 10**9, 10**9)}
    )
    costs = learned(SUMS)
    for number in range(3):
        slow = [Slow(f"{number}{each}", number + each / 10, 1000, "audio") for each in range(9)]
        report.add(Measured([1.0, 2.0], slow, {}, {SOUND: Load(1, 1000, 1000)}, 1, 100 * (3 - number)), costs)
    assert len(report.record_seconds) == 6 and report.model_loads == 3 and report.peak_memory_bytes == 300
    assert [one.sha256 for one in report.slowest] == [f"2{n}" for n in range(8, -1, -1)] + ["18"]
    assert report.loads_done == {SOUND: Load(3, 3000, 3000)}
    assert 0 < report.share_done < 0.1  # the film is most of the work, though one recording of five
    report.add(
        Measured(loads={SOUND: Load(1, 1000, 1000), Group("video by size", "keyframes"): Load(1, 10**9, 10**9)}), costs
    )
    assert report.share_done == pytest.approx(1) and report.peak_memory_bytes == 300
