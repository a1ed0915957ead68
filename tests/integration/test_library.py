"""Thematic libraries on Spark: what is counted, what is published, what a failure leaves behind."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from lake.catalog.query import local_sql
from lake.catalog.spark_query import spark_sql
from lake.errors import CommitConflict, LakeError, NotFound, PolicyRefused, SettingsError
from lake.library.build import build
from lake.library.catalog import library_table, list_libraries, published, show_library
from lake.library.spec import Theme, load_theme, load_themes
from lake.model import Row
from lake.tables import TABLE_PROPERTIES, Tables
from tests.support.lakes import Lake
from tests.support.library_rows import add_assets, add_results, asset, at, theme

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).parents[2]
THEMES = load_themes(ROOT / "conf" / "themes")
COUNTS = ("rows", "added", "changed", "removed")
LENGTHS = """
  lengths:
    key: [asset_id]
    sql: >
      SELECT asset_id, sha256, device_id, path, duration_s, captured_at_utc, file FROM assets
      WHERE media_kind = 'video'
    quality:
      - {name: positive, check: duration_s > 0}
      - {name: known_device, not_null: [device_id], severity: warn}
      - {name: one_content, unique: [sha256], severity: warn}
      - {name: many, min_rows: 3, severity: warn}
"""


def counts(document: dict[str, Any], table: str = "lengths") -> tuple[int, ...]:
    return tuple(document["tables"][table][name] for name in COUNTS)


def rows(lake: Lake, library: str, table: str) -> list[Row]:
    found: list[Row] = library_table(lake.job.tables, library, table).to_pylist()
    return found


@pytest.fixture
def make(spark: SparkSession) -> Callable[..., dict[str, Any]]:
    def run(lake: Lake, wanted: Theme, run_id: str = "run", dry_run: bool = False) -> dict[str, Any]:
        return build(lambda: spark, lake.job.tables, wanted, run_id, dry_run).document()

    return run


Make = Callable[..., dict[str, Any]]


def test_versions_follow_the_rows(local_lake: Lake, make: Make, tmp_path: Path) -> None:
    lake, tables = local_lake, local_lake.job.tables
    small = theme(tmp_path, LENGTHS)
    add_assets(tables, asset("a"), asset("b"), asset("c", start_s=None))
    planned = make(lake, small, dry_run=True)
    assert (planned["version"], planned["published"], counts(planned)) == (1, False, (3, 3, 0, 0))
    assert not tables.exists("small.lengths")
    with pytest.raises(NotFound, match="never built"):
        library_table(tables, "small", "lengths")

    first = make(lake, small)
    assert (first["version"], first["published"], counts(first)) == (1, True, (3, 3, 0, 0))
    assert tables.open("small.lengths").metadata().configuration == TABLE_PROPERTIES
    assert [row["asset_id"] for row in rows(lake, "small", "lengths")] == ["a", "b", "c"]

    before = lake.versions()
    again = make(lake, small)
    assert (again["version"], again["published"], counts(again)) == (1, False, (3, 0, 0, 0))
    assert lake.versions() == before
    add_assets(tables, asset("noise", media_kind="image"))
    unchanged = make(lake, small)
    assert (unchanged["version"], unchanged["published"], counts(unchanged)) == (1, False, (3, 0, 0, 0))
    assert lake.versions() == {**before, "assets": before["assets"] + 1}

    add_assets(tables, asset("d"))
    tables.open("assets").delete("asset_id = 'a'")
    tables.open("assets").update({"device_id": "NULL", "path": "'cam'"}, predicate="asset_id = 'b'")
    second = make(lake, small, "second")
    assert (second["version"], second["published"], counts(second)) == (2, True, (3, 1, 1, 1))
    assert [row["asset_id"] for row in rows(lake, "small", "lengths")] == ["b", "c", "d"]
    assert library_table(tables, "small", "lengths", 1).column("asset_id").to_pylist() == ["a", "b", "c"]
    recorded = [row for row in lake.rows("library_versions") if row["version"] == 2]
    assert [tuple(row[n] for n in COUNTS) for row in recorded] == [(3, 1, 1, 1)]
    assert (recorded[0]["run_id"], recorded[0]["spec_hash"]) == ("second", small.spec_hash())
    assert json.loads(recorded[0]["inputs"]) == {"assets": tables.open("assets").version()} == second["inputs"]
    assert published(tables, "small") == {"lengths": recorded[0]["delta_version"]}
    with pytest.raises(NotFound, match="did you mean 'lengths'"):
        library_table(tables, "small", "length")
    with pytest.raises(NotFound, match="no version 9"):
        library_table(tables, "small", "lengths", 9)


def test_the_smallest_changes_are_seen(local_lake: Lake, make: Make, tmp_path: Path) -> None:
    changes: list[tuple[Row, Row]] = [
        ({"device_id": None, "path": "x"}, {"device_id": "x", "path": None}),
        ({"duration_s": 1.0}, {"duration_s": 1.0000001}),
        ({"duration_s": None}, {"duration_s": 0.5}),
        ({"captured_at_utc": at(0)}, {"captured_at_utc": at(0.000001)}),
        ({"file": {"uri": "u", "size": None}}, {"file": {"uri": "u", "size": 1}}),
        ({"file": None}, {"file": {"uri": None}}),
    ]
    tables = local_lake.job.tables
    small = theme(tmp_path, LENGTHS)
    add_assets(tables, asset("same"), *(asset(f"a{n}", **before) for n, (before, _) in enumerate(changes)))
    make(local_lake, small)
    tables.open("assets").delete("asset_id != 'same'")
    add_assets(tables, *(asset(f"a{n}", **after) for n, (_, after) in enumerate(changes)))
    assert counts(make(local_lake, small, dry_run=True)) == (7, 0, len(changes), 0)


def test_a_changed_description_is_a_version_and_writes_only_what_it_changes(
    local_lake: Lake, make: Make, tmp_path: Path
) -> None:
    lake, tables = local_lake, local_lake.job.tables
    add_assets(tables, asset("a"))
    other = "  other:\n    key: [asset_id]\n    sql: SELECT asset_id, sha256 FROM lengths\n"
    make(lake, theme(tmp_path, LENGTHS + other))
    deltas = published(tables, "small")
    renamed = make(lake, theme(tmp_path, LENGTHS.replace("many", "several") + other))
    assert (renamed["version"], renamed["published"]) == (2, True)
    assert published(tables, "small") == deltas
    wider = make(lake, theme(tmp_path, LENGTHS.replace("path,", "path, 1 AS more,") + other))
    assert counts(wider) == (1, 0, 1, 0)
    assert published(tables, "small") == {"lengths": deltas["lengths"] + 1, "other": deltas["other"]}
    assert rows(lake, "small", "lengths")[0]["more"] == 1
    rekeyed = make(lake, theme(tmp_path, LENGTHS.replace("key: [asset_id]", "key: [sha256]") + other))
    assert rekeyed["version"] == 4
    make(lake, theme(tmp_path, LENGTHS))
    assert set(published(tables, "small")) == {"lengths"}
    with pytest.raises(LakeError, match="other"):
        local_sql(tables, "SELECT * FROM small.other")


def test_an_error_keeps_the_old_version_and_a_warning_is_recorded(local_lake: Lake, make: Make, tmp_path: Path) -> None:
    lake, tables = local_lake, local_lake.job.tables
    small = theme(tmp_path, LENGTHS)
    add_assets(tables, asset("a", device_id=None), asset("b", sha256="sha-a", duration_s=None))
    rules = {rule["rule"]: (rule["ok"], rule["failed_rows"]) for rule in make(lake, small)["quality"]["rules"]}
    expected = {"positive": (True, 0), "known_device": (False, 1), "one_content": (False, 1), "many": (False, 1)}
    assert rules == expected
    stored = json.loads(lake.rows("library_versions")[0]["quality"])["rules"]
    assert stored[1] == {
        "table": "lengths",
        "rule": "known_device",
        "severity": "warn",
        "ok": False,
        "failed_rows": 1,
    }
    before = lake.versions()
    add_assets(tables, asset("c", duration_s=-1.0), asset("d", duration_s=0.0))
    with pytest.raises(PolicyRefused, match=r"lengths\.positive \(2 rows\); version 1 stays") as refused:
        make(lake, small)
    assert refused.value.exit_status == 4
    planned = make(lake, small, dry_run=True)
    assert planned["quality"]["rules"][0]["failed_rows"] == 2
    assert lake.versions() == {**before, "assets": before["assets"] + 1}
    assert [row["asset_id"] for row in rows(lake, "small", "lengths")] == ["a", "b"]
    tables.open("assets").delete("duration_s <= 0")
    assert make(lake, small)["version"] == 1


def test_what_a_rule_says_later_is_published_though_no_row_changed(
    local_lake: Lake, make: Make, tmp_path: Path
) -> None:
    lake, tables = local_lake, local_lake.job.tables
    add_assets(tables, asset("a"))
    clock = LENGTHS.replace("check: duration_s > 0", "check: current_date() < DATE '2020-01-01', severity: warn")
    for text, later in ((LENGTHS, False), (clock, True)):
        small = theme(tmp_path, text)
        first = make(lake, small)
        # As if the rule had held when the version was published.
        [quality] = [r["quality"] for r in lake.rows("library_versions") if r["version"] == first["version"]]
        held = quality.replace('"ok": false', '"ok": true').replace('"failed_rows": 1', '"failed_rows": 0')
        tables.open("library_versions").update({"quality": f"'{held}'"}, predicate=f"version = {first['version']}")
        again = make(lake, small)
        assert (again["version"] - first["version"], again["published"]) == (int(later), later)
    assert published(tables, "small") == {"lengths": 0}
    assert [rule["ok"] for rule in again["quality"]["rules"]] == [False, True, True, False]


def test_odd_columns_and_keys(local_lake: Lake, make: Make, tmp_path: Path) -> None:
    add_assets(local_lake.job.tables, asset("a"), asset("b"))
    sql = "SELECT asset_id AS count, sha256 AS `a``b.c'\"💣`, path AS __new FROM assets"
    odd = theme(tmp_path, f"  t:\n    key: [count]\n    sql: {json.dumps(sql, ensure_ascii=False)}\n")
    assert counts(make(local_lake, odd), "t") == (2, 2, 0, 0)
    add_assets(local_lake.job.tables, asset("c"))
    assert counts(make(local_lake, odd), "t") == (3, 1, 0, 0)
    assert rows(local_lake, "small", "t")[2]["a`b.c'\"💣"] == "sha-c"
    add_assets(local_lake.job.tables, asset("c"))
    with pytest.raises(LakeError, match=r"\(count\) is not unique: 1 of 4 rows .* count='c' in 2 rows"):
        make(local_lake, odd)


@pytest.mark.parametrize(
    ("sql", "key", "said"),
    [
        ("SELECT device_id, sha256 FROM assets", "[device_id]", r"key \(device_id\) is not unique: 1 of 2 .*'cam'"),
        ("SELECT path, NULLIF(asset_id, 'a') AS id FROM assets", "[path, id]", r"is null in 1 of 2 rows"),
        ("SELECT asset_id FROM assets", "[asset]", "no column 'asset': did you mean 'asset_id'"),
        ("SELECT asset_id, NULL AS x FROM assets", "[asset_id]", "'x' has no type"),
        ("SELECT asset_id, path AS x, sha256 AS X FROM assets", "[asset_id]", "'x' twice"),
        ("SELECT asset_idd FROM assets", "[asset_id]", "table t: Spark: .*asset_idd.*asset_id"),
        ("SELECT asset_id FORM assets", "[asset_id]", "table t: Spark: "),
        ("SELECT * FROM blobs", "[sha256]", "blobs"),
        ("SELECT * FROM delta.`{root}/tables/blobs`", "[sha256]", "table t: Spark: "),
        ("DROP VIEW assets", "[asset_id]", "table t: Spark: "),
        ("SELECT asset_id, CAST(path AS INT) AS n FROM assets", "[asset_id]", "table t: Spark: .*a.bin"),
    ],
)
def test_what_cannot_be_built_says_so_in_one_line(
    local_lake: Lake, make: Make, tmp_path: Path, sql: str, key: str, said: str
) -> None:
    tables = local_lake.job.tables
    add_assets(tables, asset("a"), asset("b"))
    sql = sql.replace("{root}", tables.root)
    before = local_lake.versions()
    with pytest.raises(LakeError, match=said) as raised:
        make(local_lake, theme(tmp_path, f"  t:\n    key: {key}\n    sql: {sql}\n"))
    assert "\n" not in str(raised.value)
    assert "library small: table t" in str(raised.value)
    assert local_lake.versions() == before


def test_a_wrong_rule_is_named(local_lake: Lake, make: Make, tmp_path: Path) -> None:
    add_assets(local_lake.job.tables, asset("a"))
    for rule, said in (
        ("check: duration_ss > 0", "rule r: Spark: .*duration_ss"),
        ("check: duration_s >", "rule r: Spark: "),
        ("check: duration_s", "rule r: 'duration_s' is no condition but a double"),
        ("not_null: [devic_id]", "rule r: .*did you mean 'device_id'"),
    ):
        broken = LENGTHS.split("    quality:")[0] + f"    quality:\n      - {{name: r, {rule}}}\n"
        with pytest.raises(SettingsError, match=said):
            make(local_lake, theme(tmp_path, broken))


class Killed(BaseException):
    """What a kill looks like from inside: nothing handles it."""


@dataclass(frozen=True)
class Interrupted(Tables):
    """Tables where something happens just before a version is published."""

    happens: Callable[[], None] = lambda: None

    def append(self, name: str, rows: pa.Table, *, txn: tuple[str, int] | None = None) -> int:
        if name == "library_versions":
            self.happens()
        return super().append(name, rows, txn=txn)


def killed() -> None:
    raise Killed


def test_killed_before_publication(local_lake: Lake, make: Make, spark: SparkSession, tmp_path: Path) -> None:
    lake, tables = local_lake, local_lake.job.tables
    small = theme(tmp_path, LENGTHS)
    mortal = replace(lake, job=replace(lake.job, tables=Interrupted(tables.root, happens=killed)))
    add_assets(tables, asset("a"))
    with pytest.raises(Killed):
        make(mortal, small)
    assert published(tables, "small") == {}
    assert make(lake, small)["version"] == 1
    add_assets(tables, asset("b"))
    with pytest.raises(Killed):
        make(mortal, small)
    assert tables.open("small.lengths").version() > published(tables, "small")["lengths"]
    query = "SELECT asset_id FROM small.lengths ORDER BY asset_id"
    for read in (local_sql(tables, query), spark_sql(spark, tables, query), library_table(tables, "small", "lengths")):
        assert read.column("asset_id").to_pylist() == ["a"]
    ended = make(lake, small)
    assert (ended["version"], counts(ended)) == (2, (2, 1, 0, 0))
    for read in (local_sql(tables, query), spark_sql(spark, tables, query)):
        assert read.column("asset_id").to_pylist() == ["a", "b"]
    # Killed with rows that are gone again by the next build: the leftover is written over all the same.
    add_assets(tables, asset("c"))
    with pytest.raises(Killed):
        make(mortal, small)
    tables.open("assets").delete("asset_id = 'c'")
    assert counts(make(lake, small)) == (2, 0, 0, 0)
    assert tables.open("small.lengths").version() == published(tables, "small")["lengths"]


def test_of_two_builds_at_once_one_publishes(local_lake: Lake, make: Make, tmp_path: Path) -> None:
    lake, tables = local_lake, local_lake.job.tables
    small = theme(tmp_path, LENGTHS)
    add_assets(tables, asset("a"))

    def other_first() -> None:
        add_assets(tables, asset("b"))
        make(lake, small, "winner")

    slow = replace(lake, job=replace(lake.job, tables=Interrupted(tables.root, happens=other_first)))
    with pytest.raises(CommitConflict, match="run winner published version 1 first"):
        make(slow, small, "loser")
    assert [row["run_id"] for row in lake.rows("library_versions")] == ["winner"]
    assert [row["asset_id"] for row in rows(lake, "small", "lengths")] == ["a", "b"]
    assert make(lake, small, "next")["version"] == 1


def test_coverage_and_gaps_are_exact(local_lake: Lake, make: Make) -> None:
    lake, tables = local_lake, local_lake.job.tables
    add_assets(
        tables,
        asset("a0", start_s=0),
        asset("a1", start_s=10.9),  # within the tolerance of a second
        asset("a2", start_s=3, duration_s=1.0),  # inside another
        asset("a0again", start_s=0, sha256="sha-a0"),
        asset("a3", start_s=22.25, duration_s=7.5),  # 1.35 s after the end of a1
        asset("a4", start_s=29.75 + 1.0),  # exactly the tolerance
        asset("b0", device_id="two", start_s=5),
        asset("n0", start_s=None),
        asset("n1", start_s=500, duration_s=None),
        asset("n2", start_s=600, device_id=None),
        asset("n3", start_s=700, media_kind="audio"),
    )
    document = make(lake, THEMES["site_watch"])
    assert document["inputs"] == {"assets": 1, "feature_keyframes": None}
    assert counts(document, "shots") == counts(document, "stills") == (0, 0, 0, 0)
    names = ("device_id", "start_utc", "end_utc", "covered_s", "recordings", "asset_id", "last_asset_id")
    covered = [tuple(row[name] for name in names) for row in rows(lake, "site_watch", "coverage")]
    assert covered == [
        ("cam", at(0), at(20.9), 20.9, 3, "a0", "a1"),
        ("cam", at(22.25), at(40.75), 18.5, 2, "a3", "a4"),
        ("two", at(5), at(15), 10.0, 1, "b0", "b0"),
    ]
    gaps = rows(lake, "site_watch", "gaps")
    assert [(g["start_utc"], g["end_utc"], g["gap_s"]) for g in gaps] == [(at(20.9), at(22.25), 1.35)]
    assert (gaps[0]["asset_id"], gaps[0]["sha256"], gaps[0]["next_asset_id"]) == ("a1", "sha-a1", "a3")
    shown = show_library(tables, "site_watch", THEMES["site_watch"])
    assert (shown["version"], shown["described_as_built"]) == (1, True)
    listed = {row["name"]: row for row in list_libraries(tables, THEMES)}
    assert (listed["site_watch"]["version"], listed["hotline_audio"]["version"]) == (1, None)


def test_stills_and_shots(local_lake: Lake, make: Make) -> None:
    lake, tables = local_lake, local_lake.job.tables
    add_assets(
        tables, asset("a", start_s=10), asset("b", start_s=20), asset("c", start_s=3600), asset("d", start_s=None)
    )

    def shot(name: str, start_s: float, end_s: float) -> Row:
        middle_s = (start_s + end_s) / 2
        return {
            "sha256": f"sha-{name}",
            "start_s": start_s,
            "end_s": end_s,
            "keyframe_s": middle_s,
            "thumbnail": name.encode(),
        }

    shots = (shot("a", 0, 4), shot("a", 4, 10), shot("b", 0, 5.5), shot("c", 0, 1), shot("d", 0, 2), shot("d", 2, 10))
    add_results(tables, "keyframes", *shots, {"sha256": "sha-none"})
    document = make(lake, THEMES["site_watch"])
    assert document["tables"]["shots"]["rows"] == 6
    stills = [(row["asset_id"], row["keyframe_s"], row["hour_utc"]) for row in rows(lake, "site_watch", "stills")]
    assert stills == [("a", 7.0, at(0)), ("c", 0.5, at(3600)), ("d", 6.0, None)]
    first = rows(lake, "site_watch", "shots")[1]
    assert (first["start_utc"], first["end_utc"], first["keyframe_utc"]) == (at(14), at(20), at(17))


def test_calls_of_the_hotline(local_lake: Lake, make: Make) -> None:
    lake, tables = local_lake, local_lake.job.tables
    add_assets(
        tables,
        asset("a", media_kind="audio", start_s=5),
        asset("z", media_kind="audio", sha256="sha-a", start_s=1),
        asset("b", media_kind="audio", start_s=None, duration_s=None),
        asset("silent", media_kind="audio"),
        asset("film", media_kind="video"),
    )
    spans = [
        {"sha256": "sha-a", "start_s": 1.0, "end_s": 2.5, "probability": 0.9},
        {"sha256": "sha-a", "start_s": 4.0, "end_s": 5.0, "probability": 0.8},
        {"sha256": "sha-b", "start_s": 0.0, "end_s": 3.0, "probability": 0.7},
        {"sha256": "sha-silent"},
        {"sha256": "sha-film", "start_s": 0.0, "end_s": 3.0, "probability": 0.7},
    ]
    add_results(tables, "speech", *spans)
    loud = [{"sha256": "sha-a", "start_s": s, "end_s": s + 5, "recording_lufs": -23.5} for s in (0.0, 5.0)]
    add_results(tables, "loudness", *loud)
    # The same analysis with other parameters, run later: today's parameters count, and nothing counts twice.
    add_results(tables, "speech", spans[0] | {"start_s": 0.0}, params_hash="other", run_id="20270101T000000")
    # Results of an older version alone: the newest run of them counts.
    add_assets(tables, asset("old", media_kind="audio"))
    for run_id, end_s in (("20250101T000000", 2.0), ("20250102T000000", 3.0)):
        span = {"sha256": "sha-old", "start_s": 0.0, "end_s": end_s, "probability": 0.5}
        add_results(tables, "speech", span, params_hash="older", run_id=run_id)
    make(lake, THEMES["hotline_audio"])
    names = ("asset_id", "speech_s", "silence_s", "speech_share", "spoken_spans", "loudness_lufs", "duplicate_of")
    assert [tuple(row[name] for name in names) for row in rows(lake, "hotline_audio", "calls")] == [
        ("a", 2.5, 7.5, 0.25, 2, -23.5, "z"),
        ("b", 3.0, None, None, 1, None, None),
        ("old", 3.0, 7.0, 0.3, 1, None, None),
        ("z", 2.5, 7.5, 0.25, 2, -23.5, None),
    ]
    spoken = {(row["asset_id"], row["start_s"]): row for row in rows(lake, "hotline_audio", "spoken_spans")}
    assert set(spoken) == {("a", 1.0), ("a", 4.0), ("b", 0.0), ("old", 0.0), ("z", 1.0), ("z", 4.0)}
    assert (spoken["a", 4.0]["start_utc"], spoken["a", 4.0]["end_utc"]) == (at(9), at(10))
    assert spoken["b", 0.0]["start_utc"] is None


def test_the_example_of_the_guide(local_lake: Lake, make: Make, tmp_path: Path) -> None:
    lake, tables = local_lake, local_lake.job.tables
    guide = (ROOT / "docs" / "libraries.md").read_text("utf-8")
    path = tmp_path / "picture_archive.yaml"
    path.write_text(guide.split("```yaml\n", 1)[1].split("```", 1)[0], "utf-8")
    add_assets(
        tables, *(asset(name, sha256=sha256) for name, sha256 in (("a", "s"), ("b", "s"), ("c", "t"), ("d", "u")))
    )
    found = {"sha256": "s", "phash": "0" * 16, "width_px": 640, "height_px": 480}
    add_results(tables, "image_hash", found, found | {"sha256": "t", "width_px": 64}, {"sha256": "u"})
    document = make(lake, load_theme(path))
    assert counts(document, "pictures") == (2, 2, 0, 0)
    broken = [(rule["rule"], rule["failed_rows"]) for rule in document["quality"]["rules"] if not rule["ok"]]
    assert broken == [("large_enough", 1)]
    [query] = re.findall(r'^    lake sql "(.*)"$', guide, re.M)
    assert local_sql(tables, query).to_pylist() == [
        {"sha256": "s", "asset_id": "a", "copies": 2, "width_px": 640, "height_px": 480},
        {"sha256": "t", "asset_id": "c", "copies": 1, "width_px": 64, "height_px": 480},
    ]
