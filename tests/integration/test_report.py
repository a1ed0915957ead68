"""The page of a lake: what it shows, that names stay text, that it needs no network, and that it stays small."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from lake.analysis.registry import ANALYSES
from lake.catalog import report_data, report_pictures
from lake.catalog.report import write_report
from lake.catalog.report_coverage import BUCKETS, GAP_S, MAX_GAPS, coverage
from lake.catalog.report_tables import MAX_FILES, Snapshot
from lake.engine import Engine
from lake.errors import UsageError
from lake.model import Row
from lake.schema import ASSETS, LIBRARY_VERSIONS, QUARANTINE, feature_schema
from lake.tables import rows_table
from tests.support import documents
from tests.support.analysis_media import avi, encoded, scene, silence, voice, wav
from tests.support.lakes import Lake, new_lake

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SCRIPT = "<script>alert(1)</script>.wav"
VOID = {"meta", "img", "br", "rect", "polygon"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; says when a tag is not closed where it should be."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text("utf-8")
        self.tags: Counter[str] = Counter()
        self.classes: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(self.source)
        self.close()
        assert not self.open
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]
        for name in (dict(attrs).get("class") or "").split():
            self.classes[f"{tag}.{name}"] += 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            left_open = {"p", "li"} if self.open[-1] != tag else set()
            while left_open and self.open[-1] in left_open and self.open[-1] != tag:
                self.open.pop()
            assert self.open.pop() == tag, f"</{tag}> closes something else at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def report(lake: Lake, folder: Path) -> Page:
    path = write_report(lake.job.tables, lake.job.store, lake.job.settings, folder / "page.html")
    assert [p.name for p in folder.glob("*.html*")] == ["page.html"]
    return Page(path)


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def fill(folder: Path) -> None:
    """Two cameras (one missed ten seconds), a microphone, a scanner, and files of nobody with odd names."""
    for number, second in enumerate((0, 2, 14)):
        pictures = [np.asarray(scene(number))] * 50
        put(folder / f"cam-gate/20260301T0800{second:02}Z.avi", avi(pictures))
    put(folder / "cam-yard/20260301T080000Z.avi", avi([np.asarray(scene(9))] * 50))
    speech = np.concatenate([silence(1.0), voice(2.0), silence(1.0)])
    put(folder / "mic-hall/20260301T080000Z.wav", wav(speech))
    put(folder / "scan-office/20260301T080100Z.pdf", documents.pdf([["Page one"], ["第二页"]]))
    put(folder / "scan-office/20260301T080130Z.png", encoded(scene(5), "PNG"))
    put(folder / SCRIPT, wav(np.concatenate([voice(1.5, seed=2), silence(0.5)])))
    put(folder / '"><img src=x onerror=alert(2)>.jpg', encoded(scene(6), "JPEG"))
    put(folder / "{{ 7 * 191 }}.jpg", encoded(scene(7), "JPEG"))
    put(folder / "<b>bad.wav", b"RIFF\x00\x00\x00\x00WAVEfmt ")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, local_engine: Engine) -> Lake:
    folder = tmp_path_factory.mktemp("report")
    fill(folder / "in")
    lake = new_lake(str(folder / "lake"), local_engine)
    lake.ingest(folder / "in")
    lake.analyze()
    return lake


@pytest.fixture(scope="module")
def page(filled: Lake, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return report(filled, tmp_path_factory.mktemp("page"))


def test_numbers_of_the_page_are_those_of_the_tables(filled: Lake, page: Page) -> None:
    assets = filled.rows("assets")
    assert f"Recordings 记录 {len(assets)} {len(filled.rows('blobs'))} distinct contents" in page.text
    assert "Landed 入湖 10 " in page.text
    assert "Quarantined 隔离 1 " in page.text
    for device, place in (("cam-gate", "North gate"), ("mic-hall", "Service hall"), ("scan-office", "Registry office")):
        assert f"{device} {place}" in page.text
    for kind in ("video", "audio", "image", "document"):
        assert f" {kind} {sum(a['media_kind'] == kind for a in assets)} " in page.text
    for name in (name for name, analysis in ANALYSES.items() if None not in analysis.models.values()):
        assert f" {name} " in page.text


def test_the_gap_of_a_device_is_drawn_and_told(page: Page) -> None:
    assert "gap 2026-03-01 07:59:56 to 08:00:06, 10.0 s" in page.text  # the clock of cam-gate is 7.5 s fast
    assert page.classes["rect.gap"] == 1
    assert page.text.count("no gap") == 2
    assert page.classes["rect.moment"] == 2


def test_pictures_of_every_kind(page: Page) -> None:
    assert page.classes["img.frame"] == 4
    assert page.classes["img.page"] == 1
    assert page.tags["img"] == 4 + 1 + 3
    assert page.classes["polygon.wave"] == 2
    assert page.classes["rect.speech"] >= 2


def test_quarantine_says_what_and_why(filled: Lake, page: Page) -> None:
    (row,) = filled.rows("quarantine")
    assert f"1 {row['error_class']} at ingest" in page.text
    assert row["message"] in page.text
    assert report_data.REASONS[row["error_class"]] in page.text


def test_names_stay_text(page: Page) -> None:
    """What a user may call a file is shown as it is and never becomes markup or a template."""
    assert page.tags["script"] == 0
    assert page.tags["b"] == page.source.count("<b>gap</b>") + page.classes["b.bad"] + page.classes["b.good"]
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "script>.wav" in page.text
    assert "<b>bad.wav" in page.text
    assert '"><img src=x onerror=alert(2)>.jpg' in page.text
    assert "{{ 7 * 191 }}.jpg" in page.text
    assert "1337" not in page.text


def test_the_page_works_without_a_network(page: Page) -> None:
    for name, value in page.attributes:
        if name in ("src", "href", "xlink:href", "data", "action", "poster", "srcset"):
            assert value.startswith(("data:image/", "#")), value[:80]
    assert not re.search(r"url\(|@import|https?://", page.source)
    assert page.tags["link"] == page.tags["iframe"] == page.tags["object"] == 0
    assert ("content", "default-src 'none'; img-src data:; style-src 'unsafe-inline'") in page.attributes


def test_two_pages_of_one_lake_differ_in_their_time_only(filled: Lake, page: Page, tmp_path: Path) -> None:
    again = report(filled, tmp_path)
    made = re.compile(r"Made [^ ]+ [^ ]+ by")
    assert made.sub("", again.source) == made.sub("", page.source)


def test_a_lake_without_recordings_says_so(local_lake: Lake, tmp_path: Path) -> None:
    page = report(local_lake, tmp_path)
    assert "There are no recordings in this lake yet." in page.text
    assert "Nothing is in quarantine." in page.text
    assert "No thematic library was built yet" in page.text
    assert "Nothing ran yet." in page.text
    assert page.tags["img"] == page.tags["svg"] == 0


def test_a_lake_that_was_not_analysed_says_so(local_lake: Lake, tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.wav", wav(voice(1.0)))
    local_lake.ingest(tmp_path / "in")
    page = report(local_lake, tmp_path)
    for text in ("Nothing was analysed yet", "Videos were not analysed yet", "Images were not analysed yet"):
        assert text in page.text
    assert "No recording says when it was captured" in page.text
    assert page.classes["polygon.wave"] == 1
    assert page.classes["rect.speech"] == 0


def test_bytes_that_are_lost_or_wrong_cost_their_picture_only(filled: Lake, tmp_path: Path) -> None:
    shutil.copytree(filled.job.settings.root, tmp_path / "lake")
    for pack in (tmp_path / "lake" / "packs").rglob("*"):
        if pack.is_file():
            data = bytearray(pack.read_bytes())
            data[len(data) // 8 :] = bytes(len(data) - len(data) // 8)
            pack.write_bytes(data)
    page = report(new_lake(str(tmp_path / "lake"), filled.engine), tmp_path)
    assert page.classes["img.frame"] == 4
    assert page.classes["polygon.wave"] + page.classes["img.page"] < 3


def test_a_page_of_many_stays_small(local_lake: Lake, tmp_path: Path) -> None:
    tables = local_lake.job.tables
    thumbnail = encoded(scene(1, 64, 48), "JPEG")
    assets = [_asset(number, f"device {number % 100}", 60.0 * number, 10.0) for number in range(3000)]
    tables.append("assets", rows_table(assets, ASSETS))
    keyframes = ANALYSES["keyframes"]
    schema = feature_schema(keyframes.piece, keyframes.fields)
    tables.create("feature_keyframes", schema)
    for first in range(0, 3000, 100):
        shots = [_shot(a["sha256"], frame, thumbnail) for a in assets[first : first + 100] for frame in range(3)]
        tables.append("feature_keyframes", rows_table(shots, schema))
    failures = [_failure(n, "Damaged" if n % 10 else "Protected") for n in range(3000)]
    tables.append("quarantine", rows_table(failures, QUARANTINE))
    with Snapshot(tables, sampled=True) as sample:
        assert len(list(sample.dataset("feature_keyframes").get_fragments())) == MAX_FILES
    page = report(local_lake, tmp_path)
    assert page.classes["img.frame"] == report_pictures.MAX_KEYFRAMES
    assert "48 of 9,000, from every device" in page.text
    assert "… and 8,952 more key frames" in page.text
    assert page.classes["td.path"] == report_data.MAX_QUARANTINE
    assert "… and 2,800 more in quarantine, see lake quarantine list" in page.text
    assert "2,700 Damaged" in page.text
    assert "300 Protected" in page.text
    assert "… and 60 more devices" in page.text
    assert len(page.source) < 2_000_000


def _asset(number: int, device: str | None, second: float, duration_s: float | None) -> Row:
    return {
        "asset_id": f"{number:032x}",
        "sha256": f"{number:064x}",
        "path": f"video {number}.mp4",
        "media_kind": "video",
        "device_id": device,
        "captured_at_utc": NOON + timedelta(seconds=second),
        "size_bytes": 1000,
        "duration_s": duration_s,
    }


def _shot(sha256: str, frame: int, thumbnail: bytes) -> Row:
    times = {"start_s": frame / 10, "end_s": frame / 10 + 0.1, "keyframe_s": frame / 10}
    picture = {"thumbnail": thumbnail, "thumbnail_width_px": 64, "thumbnail_height_px": 48}
    return {"sha256": sha256, "params_hash": "p", "frame": frame, **times, **picture}


def _failure(number: int, error_class: str) -> Row:
    where = {"arrival_id": f"a{number}", "path": f"in/{number}.wav", "stage": "ingest", "attempt": 1, "at_utc": NOON}
    return {**where, "error_class": error_class, "message": "cut off"}


@pytest.mark.parametrize("seed", range(4))
def test_coverage_is_that_of_a_count_second_by_second(local_lake: Lake, seed: int) -> None:
    rng = np.random.default_rng(seed)
    spans = [(int(s), int(d)) for s, d in zip(rng.integers(0, 3000, 60), rng.integers(1, 60, 60), strict=True)]
    rows = [_asset(number, "cam", start, float(length)) for number, (start, length) in enumerate(spans)]
    local_lake.job.tables.append("assets", rows_table(rows, ASSETS))
    covered = np.zeros(3100, dtype=bool)
    for start, length in spans:
        covered[start : start + length] = True
    first, last = int(np.flatnonzero(covered)[0]), int(np.flatnonzero(covered)[-1]) + 1
    edges = np.flatnonzero(np.diff(covered[first:last].astype(int)))
    gaps = [(first + int(a) + 1, first + int(b) + 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    gaps = [(a, b) for a, b in gaps if b - a > GAP_S]
    with Snapshot(local_lake.job.tables) as snapshot:
        (strip,) = coverage(snapshot).strips
    assert strip.covered_s == pytest.approx(covered.sum())
    assert (strip.gap_total, strip.gap_s) == (len(gaps), sum(b - a for a, b in gaps))
    longest = sorted(sorted(gaps, key=lambda gap: (gap[0] - gap[1], gap[0]))[:MAX_GAPS])
    found = [((g.start_utc - NOON).total_seconds(), (g.end_utc - NOON).total_seconds()) for g in strip.gaps]
    assert found == longest
    assert all(start >= 0 and start + count <= BUCKETS for start, count, _ in strip.bars)


def test_libraries_show_their_last_version_and_what_failed(local_lake: Lake, tmp_path: Path) -> None:
    good = '{"rules": [{"table": "t", "rule": "r1", "ok": true, "failed_rows": 0, "detail": ""}]}'
    bad = '{"rules": [{"table": "t", "rule": "<i>r2", "ok": false, "failed_rows": 3, "detail": "three"}]}'
    rows: list[Row] = [
        {"library": "calls", "version": 1, "table": "t", "rows": 5, "quality": bad, "built_at_utc": NOON},
        {"library": "calls", "version": 2, "table": "t", "rows": 1234, "quality": good, "built_at_utc": NOON},
        {"library": "watch", "version": 1, "table": "t", "rows": 6, "quality": bad, "built_at_utc": NOON},
        {"library": "odd", "version": 1, "table": "t", "rows": 7, "quality": "<u>not json", "built_at_utc": None},
        {"library": "other", "version": 1, "table": "t", "rows": 8, "quality": '{"rules": 5}', "built_at_utc": None},
        {"library": "none", "version": 1, "table": "t", "rows": 9, "quality": None, "built_at_utc": None},
    ]
    local_lake.job.tables.append("library_versions", rows_table(rows, LIBRARY_VERSIONS))
    page = report(local_lake, tmp_path)
    assert "calls version 2, built 2026-03-01 12:00:00" in page.text
    assert "1,234" in page.text
    assert "all 1 quality rules hold" in page.text
    assert "1 of 1 quality rules failed" in page.text
    assert "<i>r2 three" in page.text
    assert "<u>not json" in page.text
    assert '{"rules": 5}' in page.text


def test_no_jvm_and_nothing_of_spark(filled: Lake, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom jobs.cli import main\n"
        "sys.argv = ['lake', '--root', sys.argv[1], 'report', '-o', sys.argv[2]]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert not {'pyspark', 'py4j'} & set(sys.modules)"
    )
    target = tmp_path / "r.html"
    command = [sys.executable, "-c", code, filled.job.settings.root, str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert str(target) in done.stdout


def test_a_place_that_cannot_be_written_is_named(local_lake: Lake, tmp_path: Path) -> None:
    job = local_lake.job
    with pytest.raises(UsageError, match="is no folder"):
        write_report(job.tables, job.store, job.settings, tmp_path / "nowhere" / "page.html")
