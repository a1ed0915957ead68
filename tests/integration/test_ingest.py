"""The way of a recording from a folder into the lake, by both engines, checked by reading every byte back."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.cli import Invocation
from jobs.ingest import ingest_source, make_plan
from tests.support.lakes import Lake, OneEngine, new_lake

pytestmark = pytest.mark.timeout(300)


def fill(folder: Path, count: int = 40, seed: int = 1) -> dict[str, bytes]:
    """Text files of distinct content, in a few folders."""
    files = {}
    for number in range(count):
        key = f"dev-{number % 3}/note {number:03}.txt"
        files[key] = f"seed {seed} number {number} ".encode() * (number + 1)
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[key])
    return files


def test_every_byte_is_read_back_and_the_second_run_writes_nothing(lake: Lake, tmp_path: Path) -> None:
    files = fill(tmp_path / "in")
    first = lake.ingest(tmp_path / "in")
    assert (first["arrivals"], first["landed"], first["duplicates"], first["quarantined"]) == (40, 40, 0, 0)
    assert {r["path"]: r["sha256"] for r in lake.rows("assets")} == {
        key: hashlib.sha256(data).hexdigest() for key, data in files.items()
    }
    for row in lake.rows("assets"):
        assert lake.read(row["asset_id"]) == files[row["path"]]
    versions = lake.versions()
    again = lake.ingest(tmp_path / "in")
    assert (again["seen"], again["arrivals"]) == (40, 0)
    assert lake.versions() == versions


def test_same_content_under_a_new_name_is_one_blob_and_two_assets(lake: Lake, tmp_path: Path) -> None:
    fill(tmp_path / "in", 3)
    lake.ingest(tmp_path / "in")
    twin = tmp_path / "in" / "dev-0" / "twin.txt"
    twin.write_bytes((tmp_path / "in" / "dev-0" / "note 000.txt").read_bytes())
    report = lake.ingest(tmp_path / "in")
    assert (report["arrivals"], report["landed"], report["duplicates"]) == (1, 0, 1)
    assert len(lake.rows("blobs")) == 3
    assert len(lake.rows("assets")) == 4


def test_twins_in_one_wave_are_stored_once(lake: Lake, tmp_path: Path) -> None:
    for number in range(200):
        path = tmp_path / "in" / f"{number:03}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"content {number % 100:03}")
    report = lake.ingest(tmp_path / "in")
    assert (report["landed"], report["duplicates"]) == (100, 100)
    assert len(lake.rows("blobs")) == 100
    assert len(lake.rows("assets")) == 200


def test_twins_in_consecutive_waves_are_stored_once(lake: Lake, tmp_path: Path) -> None:
    """A wave is landed while the one before is committed, and yet knows what that one stored."""
    (tmp_path / "in").mkdir()
    for number in range(60):
        (tmp_path / "in" / f"{number:03}.txt").write_text(f"content {number % 20:03}")
    plan = replace(make_plan(lake.job, str(tmp_path / "in"), None), wave_max_arrivals=20)
    report = ingest_source(lake.job, Invocation(json=True), plan, OneEngine(lake.job, lake.engine))
    assert (report["landed"], report["duplicates"]) == (20, 40)
    assert len({row["pack_uri"] for row in lake.rows("blobs")}) == len(list(lake.job.store.list("packs"))) == 1
    assert len(lake.rows("assets")) == 60


def test_new_content_at_a_path_is_one_new_version(lake: Lake, tmp_path: Path) -> None:
    fill(tmp_path / "in", 5)
    lake.ingest(tmp_path / "in")
    (tmp_path / "in" / "dev-0" / "note 000.txt").write_bytes(b"other content")
    report = lake.ingest(tmp_path / "in")
    assert (report["arrivals"], report["landed"]) == (1, 1)
    versions = [r for r in lake.rows("arrivals") if r["key"] == "dev-0/note 000.txt"]
    assert len({r["sha256"] for r in versions}) == 2


def test_a_touched_file_is_no_new_asset(lake: Lake, tmp_path: Path) -> None:
    fill(tmp_path / "in", 2)
    lake.ingest(tmp_path / "in")
    os.utime(tmp_path / "in" / "dev-0" / "note 000.txt", (1, 1))
    report = lake.ingest(tmp_path / "in")
    assert (report["arrivals"], report["duplicates"]) == (1, 1)
    assert len(lake.rows("assets")) == 2


def test_large_recordings_get_their_own_key(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    content = os.urandom(1024) * (9 * 1024)
    (tmp_path / "in" / "large.bin").write_bytes(content)
    lake.ingest(tmp_path / "in")
    (blob,) = lake.rows("blobs")
    sha256 = hashlib.sha256(content).hexdigest()
    assert blob["pack_uri"] == f"blobs/{sha256[:2]}/{sha256}"
    assert lake.read(sha256) == content


def test_what_cannot_be_opened_costs_only_itself(lake: Lake, tmp_path: Path) -> None:
    fill(tmp_path / "in", 10)
    os.mkfifo(tmp_path / "in" / "pipe")
    (tmp_path / "in" / "empty.mp4").touch()
    (tmp_path / "in" / "link").symlink_to("/etc/hostname")
    report = lake.ingest(tmp_path / "in")
    assert (report["landed"], report["quarantined"]) == (10, 1)
    assert {entry["key"] for entry in report["skipped_entries"]} == {"pipe", "link"}
    (row,) = lake.rows("quarantine")
    assert (row["path"], row["stage"], row["error_class"]) == ("empty.mp4", "ingest", "Damaged")
    assert stat.S_ISFIFO((tmp_path / "in" / "pipe").stat().st_mode)


def test_at_every_commit_arrivals_are_the_sum_of_their_states(lake: Lake, tmp_path: Path) -> None:
    fill(tmp_path / "in", 7)
    (tmp_path / "in" / "broken.wav").write_bytes(b"RIFF\x00\x10\x00\x00WAVEfmt ")
    report = lake.ingest(tmp_path / "in")
    states = [r["state"] for r in lake.rows("arrivals")]
    assert (
        report["arrivals"] == len(states) == sum(report[s] for s in ("landed", "duplicates", "quarantined", "pending"))
    )
    assert lake.rows("quarantine")[0]["sha256"] in {r["sha256"] for r in lake.rows("blobs")}


def test_what_comes_late_or_with_an_odd_time_is_never_skipped(lake: Lake, tmp_path: Path) -> None:
    """There is no watermark: what decides is whether this key was seen in this version."""
    folder = tmp_path / "in"
    fill(folder, 20)
    lake.ingest(folder)
    now = (folder / "dev-0" / "note 000.txt").stat().st_mtime
    odd = {"month-old.txt": now - 30 * 86400, "next-year.txt": now + 400 * 86400, "of-1970.txt": 0.0, "aaa.txt": now}
    for name, mtime in odd.items():
        (folder / "dev-1" / name).write_text(f"late: {name}", encoding="utf-8")
        os.utime(folder / "dev-1" / name, (mtime, mtime))
    same = folder / "dev-2" / "note 002.txt"
    before = same.stat()
    same.write_bytes(same.read_bytes()[::-1])  # equal size and, in a moment, equal time
    os.utime(same, ns=(before.st_atime_ns, before.st_mtime_ns))
    report = lake.ingest(folder)
    assert (report["arrivals"], report["landed"]) == (len(odd) + 1, len(odd) + 1)
    assert lake.ingest(folder)["arrivals"] == 0
    newest = {row["sha256"] for row in lake.rows("arrivals") if row["key"] == "dev-2/note 002.txt"}
    assert hashlib.sha256(same.read_bytes()).hexdigest() in newest


def test_the_same_recordings_give_the_same_rows_in_any_order_of_delivery(lake: Lake, tmp_path: Path) -> None:
    """A thousand recordings delivered shuffled, in three runs and again from the start, into two lakes."""
    folder = tmp_path / "in"
    names = [f"dev-{number % 3}/note {number:04}.txt" for number in range(1000)]
    contents = {name: f"number {number}\n" * (1 + number % 7) for number, name in enumerate(names)}
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(contents[name], encoding="utf-8")
    lake.ingest(folder)
    lake.ingest(folder)
    other = new_lake(str(tmp_path / "other"), lake.engine)
    shuffled = random.Random(3).sample(names, len(names))
    shutil.rmtree(folder)
    for start in range(0, len(names), 400):
        for name in shuffled[start : start + 400]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(contents[name], encoding="utf-8")
        other.ingest(folder)
    assert other.ingest(folder)["arrivals"] == 0
    for table, columns in REPLAYED.items():
        one, two = (sorted([str([row[c] for c in columns]) for row in each.rows(table)]) for each in (lake, other))
        assert one == two, table
        assert len(one) == 1000


REPLAYED = {
    "arrivals": ("source", "key", "size_bytes", "device_id", "state", "sha256", "asset_id"),
    "assets": ("asset_id", "sha256", "path", "source", "media_kind", "content_type", "size_bytes", "container"),
    "blobs": ("sha256", "size_bytes", "length", "codec", "crc32c", "content_type", "device_id"),
}
"""Columns that do not tell of a run, a time or a place in a pack. A version tells of the inode, so it may differ."""
