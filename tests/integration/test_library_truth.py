"""The shipped libraries on simulated devices, row by row against what those devices really recorded."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from connectors.simulated import File, Truth
from jobs.cli import Invocation
from jobs.demo import DEMO_SOURCE
from jobs.ingest import ingest_source, make_plan
from lake.engine import Engine
from lake.library.build import build
from lake.library.catalog import library_table
from lake.library.spec import load_themes
from lake.model import Row
from tests.support.lakes import Lake, OneEngine, new_lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.timeout(600)

THEMES = load_themes(Path(__file__).parents[2] / "conf" / "themes")
SPEECH_TOLERANCE_S = 0.6
"""Silero hears a voice later than it begins and pads what it hears; the bursts are 2.5 s apart."""
FRAME_S = 0.1


@dataclass
class City:
    """A lake that holds what the simulated devices delivered, its libraries, and the truth."""

    lake: Lake
    truth: Truth
    documents: dict[str, dict[str, Any]]

    def rows(self, library: str, table: str) -> list[Row]:
        found: list[Row] = library_table(self.lake.job.tables, library, table).to_pylist()
        return found

    def keys(self) -> dict[str, str]:
        """Path of each recording by its id."""
        return {row["asset_id"]: row["path"] for row in self.lake.rows("assets")}

    def footage(self) -> list[File]:
        """Camera segments that can be watched, one that was sent twice twice."""
        return [f for f in self.truth.files if f.media_kind == "video" and f.state != "quarantined"]


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory, local_engine: Engine, spark: SparkSession) -> City:
    lake = new_lake(str(tmp_path_factory.mktemp("city")), local_engine)
    plan = make_plan(lake.job, DEMO_SOURCE, None)
    ingest_source(lake.job, Invocation(json=True), plan, OneEngine(lake.job, local_engine))
    lake.analyze("keyframes", "speech", "loudness")
    built = {name: build(lambda: spark, lake.job.tables, theme, "run").document() for name, theme in THEMES.items()}
    return City(lake, plan.context.connector.truth, built)  # type: ignore[attr-defined]


def test_all_rules_hold(city: City) -> None:
    rules = [rule for document in city.documents.values() for rule in document["quality"]["rules"]]
    assert len(rules) > 20
    assert [rule for rule in rules if not rule["ok"]] == []


def test_spoken_spans_are_the_voices_and_nothing_else(city: City) -> None:
    keys = city.keys()
    spans = [(keys[r["asset_id"]], r["start_s"], r["end_s"]) for r in city.rows("hotline_audio", "spoken_spans")]
    voices = [(b.key, b.start_s, b.end_s) for b in city.truth.bursts if b.kind == "voice"]
    assert len(spans) == len(voices) > 20
    for (heard, start_s, end_s), (key, begins_s, ends_s) in zip(sorted(spans), sorted(voices), strict=True):
        assert heard == key
        assert abs(start_s - begins_s) < SPEECH_TOLERANCE_S, (key, start_s, begins_s)
        assert abs(end_s - ends_s) < SPEECH_TOLERANCE_S, (key, end_s, ends_s)


def test_spoken_spans_are_at_the_right_time_of_day(city: City) -> None:
    keys, captured = city.keys(), {file.key: file.captured_at_utc for file in city.truth.files}
    for row in city.rows("hotline_audio", "spoken_spans"):
        begin = captured[keys[row["asset_id"]]]
        assert row["start_utc"] == begin + timedelta(microseconds=round(row["start_s"] * 1e6))
        assert row["end_utc"] == begin + timedelta(microseconds=round(row["end_s"] * 1e6))


def test_calls_are_the_recordings_with_voices(city: City) -> None:
    keys, calls = city.keys(), city.rows("hotline_audio", "calls")
    files = {file.key: file for file in city.truth.files}
    voices = [burst for burst in city.truth.bursts if burst.kind == "voice"]
    assert {keys[call["asset_id"]] for call in calls} == {burst.key for burst in voices}
    assert {call["device_id"] for call in calls} == {"mic-hall", "mic-hotline"}
    spoken = city.rows("hotline_audio", "spoken_spans")
    for call in calls:
        file = files[keys[call["asset_id"]]]
        own = [row for row in spoken if row["asset_id"] == call["asset_id"]]
        assert (call["sha256"], call["captured_at_utc"]) == (file.sha256, file.captured_at_utc)
        assert call["spoken_spans"] == len(own) == sum(burst.key == file.key for burst in voices)
        assert call["speech_s"] == pytest.approx(sum(row["end_s"] - row["start_s"] for row in own))
        assert call["speech_s"] + call["silence_s"] == pytest.approx(call["duration_s"]) == file.duration_s
        assert call["speech_share"] == pytest.approx(call["speech_s"] / call["duration_s"])
        assert -50 < call["loudness_lufs"] < 0
        assert call["duplicate_of"] is None


def test_gaps_are_the_dropped_segment(city: City) -> None:
    keys, files = city.keys(), {file.key: file for file in city.footage()}
    gaps = city.rows("site_watch", "gaps")
    found = [(gap["device_id"], gap["start_utc"], gap["end_utc"]) for gap in gaps]
    assert found == [(gap.device_id, gap.start_utc, gap.end_utc) for gap in city.truth.gaps] != []
    for gap in gaps:
        before, after = files[keys[gap["asset_id"]]], files[keys[gap["next_asset_id"]]]
        assert ends_at(before) == gap["start_utc"]
        assert after.captured_at_utc == gap["end_utc"]
        assert gap["gap_s"] == (gap["end_utc"] - gap["start_utc"]).total_seconds()


def test_coverage_is_what_was_recorded(city: City) -> None:
    once = {(f.device_id, f.sha256, f.captured_at_utc): f for f in city.footage()}.values()
    coverage = city.rows("site_watch", "coverage")
    recorded_s = Counter({d: sum(f.duration_s or 0 for f in once if f.device_id == d) for d in devices(city)})
    covered_s, recordings = Counter[str](), Counter[str]()
    for row in coverage:
        covered_s[row["device_id"]] += row["covered_s"]
        recordings[row["device_id"]] += row["recordings"]
    assert covered_s == recorded_s
    assert recordings == Counter(file.device_id for file in once)
    assert len(coverage) == len(devices(city)) + len(city.truth.gaps)
    for device_id in devices(city):
        own = [row for row in coverage if row["device_id"] == device_id]
        files = [file for file in once if file.device_id == device_id]
        assert min(row["start_utc"] for row in own) == min(file.captured_at_utc for file in files)
        assert max(row["end_utc"] for row in own) == max(map(ends_at, files))


def test_shots_begin_where_the_cameras_turn(city: City) -> None:
    keys = city.keys()
    turns = {(c.key, c.at_s) for c in city.truth.shot_changes}
    expected = sorted([(file.key, 0.0) for file in city.footage()] + list(turns))
    # A segment that was sent twice has the same turns both times; the truth tells them of the first.
    for file in city.footage():
        if file.state == "duplicate":
            first = next(f for f in city.footage() if f.sha256 == file.sha256 and f.state == "landed")
            expected += [(file.key, at_s) for key, at_s in turns if key == first.key]
    shots = sorted((keys[row["asset_id"]], row["start_s"]) for row in city.rows("site_watch", "shots"))
    assert len(shots) == len(expected)
    for (key, start_s), (expected_key, at_s) in zip(shots, sorted(expected), strict=True):
        assert key == expected_key
        assert abs(start_s - at_s) <= FRAME_S + 1e-6, (key, start_s, at_s)


def test_shots_have_the_time_of_their_frames(city: City) -> None:
    keys, files = city.keys(), {file.key: file for file in city.footage()}
    for row in city.rows("site_watch", "shots"):
        begin = files[keys[row["asset_id"]]].captured_at_utc
        for name in ("start", "end", "keyframe"):
            assert row[f"{name}_utc"] == begin + timedelta(microseconds=round(row[f"{name}_s"] * 1e6))


def test_there_is_a_still_an_hour_of_each_camera(city: City) -> None:
    shots, stills = city.rows("site_watch", "shots"), city.rows("site_watch", "stills")
    hours = {(shot["device_id"], hour(shot["start_utc"])) for shot in shots}
    assert {device_id for device_id, _ in hours} == set(devices(city))
    # The gate's clock is 7.5 s fast: its first segment belongs to the hour before.
    assert len(hours) > len(devices(city))
    assert sorted((still["device_id"], still["hour_utc"]) for still in stills) == sorted(hours)
    for still in stills:
        same_hour = [
            s for s in shots if (s["device_id"], hour(s["start_utc"])) == (still["device_id"], still["hour_utc"])
        ]
        longest_s = max(shot["end_s"] - shot["start_s"] for shot in same_hour)
        [shot] = [s for s in same_hour if (s["asset_id"], s["keyframe_s"]) == (still["asset_id"], still["keyframe_s"])]
        assert shot["end_s"] - shot["start_s"] == longest_s
        assert (still["sha256"], still["phash"]) == (shot["sha256"], shot["phash"])
        picture = Image.open(io.BytesIO(still["thumbnail"]))
        assert picture.format == "JPEG"
        assert picture.size == (still["thumbnail_width_px"], still["thumbnail_height_px"])
        assert max(picture.size) == 256


def devices(city: City) -> list[str]:
    return sorted({file.device_id for file in city.footage()})


def ends_at(file: File) -> datetime:
    return file.captured_at_utc + timedelta(seconds=file.duration_s or 0)


def hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)
