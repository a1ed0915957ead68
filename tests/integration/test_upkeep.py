"""Compaction, garbage collection and scrubbing: the store changes under the lake, what is read does not."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import Invocation
from jobs.upkeep import maintain
from lake.catalog.query import local_sql
from lake.catalog.read import open_content, open_recording
from lake.engine import Engine
from lake.errors import IntegrityError, LakeError, NotFound, PolicyRefused
from lake.rewrite import delete_rows
from lake.schema import SCRUBS
from lake.store.blobs import stored_blobs
from lake.store.compact import CompactContext, compact
from lake.store.foreign import STAGING
from lake.store.gc import collect
from lake.store.lease import horizon, lease
from lake.store.objects import FolderStore
from lake.store.scrub_files import check_files, known_files
from lake.store.stat import stat
from lake.tables import Tables
from tests.support.lakes import Lake, OneEngine, bucket_lake, new_lake
from tests.support.minio import MinioServer

pytestmark = pytest.mark.timeout(120)

DAY = timedelta(days=1)
HOURS = 24.0


def now() -> datetime:
    return datetime.now(UTC)


def fill(lake: Lake, folder: Path, runs: int = 4, each: int = 40, size_bytes: int = 3000) -> dict[str, bytes]:
    """Several small deliveries, a pack or two each; the contents by sha256."""
    draw = random.Random(11)
    for run in range(runs):
        (folder / f"cam-{run % 2}").mkdir(parents=True, exist_ok=True)
        for number in range(each):
            path = folder / f"cam-{run % 2}" / f"{run}-{number:03}.bin"
            path.write_bytes(draw.randbytes(draw.randint(100, size_bytes)))
        lake.ingest(folder)
    return {row["sha256"]: (folder / row["path"]).read_bytes() for row in lake.rows("assets")}


def age(lake: Lake, by: timedelta = 30 * DAY) -> None:
    """Make all objects as old as those of a lake that has run for long."""
    for prefix in ("packs", "blobs"):
        for entry in lake.job.store.list(prefix):
            path = Path(lake.job.settings.root, entry.key)
            then = path.stat().st_mtime - by.total_seconds()
            os.utime(path, (then, then))


def packs(lake: Lake) -> set[str]:
    return {entry.key for entry in lake.job.store.list("packs")}


def read_all(lake: Lake) -> dict[str, bytes | LakeError]:
    """What each row of the table of blobs leads to, read as the lake reads it."""
    found: dict[str, bytes | LakeError] = {}
    rows = lake.rows("blobs")
    refs = stored_blobs(lake.job.tables.dataset("blobs"), [row["sha256"] for row in rows])
    for sha256, blob in refs.items():
        try:
            with open_content(lake.job.store, blob.ref) as stream:
                found[sha256] = stream.read()
        except LakeError as error:
            found[sha256] = error
    return found


def all_read(lake: Lake, contents: dict[str, bytes]) -> None:
    found = read_all(lake)
    assert {sha256: found.get(sha256) for sha256 in contents} == contents


def places(lake: Lake) -> dict[str, tuple[str, int]]:
    return {row["sha256"]: (row["pack_uri"], row["offset"]) for row in lake.rows("blobs")}


@pytest.fixture
def lake(tmp_path: Path, local_engine: Engine) -> Lake:
    return new_lake(str(tmp_path / "lake"), local_engine)


def test_small_packs_become_one_and_read_the_same(lake: Lake, tmp_path: Path) -> None:
    contents = fill(lake, tmp_path / "in")
    before = packs(lake)
    assert len(before) >= 4
    report = lake.compact()
    assert (report["rewritten"], report["written"], report["blobs_moved"]) == (len(before), 1, len(contents))
    assert {uri for uri, _ in places(lake).values()}.isdisjoint(before)
    assert len(lake.rows("blobs")) == len(contents)
    all_read(lake, contents)
    for row in lake.rows("assets"):
        assert (row["file"]["uri"], row["file"]["offset"]) == places(lake)[row["sha256"]]
    versions = lake.versions()
    again = lake.compact()
    assert (again["rewritten"], again["blobs_moved"]) == (0, 0)
    assert lake.versions() == versions, "a second compaction writes nothing"
    assert lake.ingest(tmp_path / "in")["arrivals"] == 0


def test_a_pack_with_many_dead_bytes_is_rewritten_without_them(lake: Lake, tmp_path: Path) -> None:
    contents = fill(lake, tmp_path / "in", runs=1, each=60)
    lake.compact()
    gone = sorted(contents)[:30]
    delete_rows(lake.job.tables, "blobs", "sha256", gone)
    dead = stat(lake.job.store, lake.job.tables.dataset("blobs"), "tables/blobs")["dead_bytes"]
    assert dead == sum(len(contents[sha256]) for sha256 in gone)
    report = lake.compact()
    assert (report["rewritten"], report["blobs_moved"]) == (1, 30)
    age(lake)
    assert lake.gc(0.0)["deleted"] >= 1
    found = stat(lake.job.store, lake.job.tables.dataset("blobs"), "tables/blobs")
    assert (found["dead_bytes"], found["orphan_bytes"], found["missing_objects"]) == (0, 0, 0)
    all_read(lake, {sha256: contents[sha256] for sha256 in contents if sha256 not in gone})


def test_a_damaged_blob_stays_where_it_is_and_is_told(lake: Lake, tmp_path: Path) -> None:
    contents = fill(lake, tmp_path / "in", runs=2)
    bad = lake.rows("blobs")[7]
    flip(lake, bad["pack_uri"], bad["offset"] + 5)
    report = lake.compact()
    assert report["damaged"] == 1
    assert bad["sha256"] in report["findings"][0]
    assert places(lake)[bad["sha256"]] == (bad["pack_uri"], bad["offset"])
    with pytest.raises(IntegrityError):
        lake.read(bad["sha256"])
    all_read(lake, {sha256: data for sha256, data in contents.items() if sha256 != bad["sha256"]})


def flip(lake: Lake, key: str, at: int) -> None:
    path = Path(lake.job.settings.root, key)
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << (at % 8)
    path.write_bytes(data)


class Killed(BaseException):
    """What a kill looks like from inside: nothing handles it."""


@dataclass(frozen=True)
class MortalStore(FolderStore):
    """A store whose process dies before its n-th write, or just after it."""

    calls: list[str] = field(default_factory=list)
    dies_at: int = -1
    after: bool = False

    def put(self, key: str, data: bytes | Path) -> None:
        self._step(key, lambda: FolderStore.put(self, key, data))

    def delete(self, key: str) -> None:
        self._step(key, lambda: FolderStore.delete(self, key))

    def _step(self, key: str, step: Callable[[], None]) -> None:
        self.calls.append(key)
        dies = len(self.calls) - 1 == self.dies_at
        if not dies or self.after:
            step()
        if dies:
            raise Killed


@dataclass(frozen=True)
class MortalTables(Tables):
    """Tables whose process dies before its n-th rewrite, or just after it."""

    calls: list[str] = field(default_factory=list)
    dies_at: int = -1
    after: bool = False

    def commit(self, name: str, table: Any, actions: Any, facts: Any) -> None:
        self.calls.append(name)
        dies = len(self.calls) - 1 == self.dies_at
        if not dies or self.after:
            super().commit(name, table, actions, facts)
        if dies:
            raise Killed


class InProcess:
    """An engine that runs its tasks here, so that a store can see and end them."""

    name = "local"
    slots = 1

    def run(self, tasks: Any, function: Any) -> Any:
        for task in tasks:
            yield from function(task)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_compaction_killed_at_any_step_and_run_again(lake: Lake, tmp_path: Path, after: bool) -> None:
    """After each kill everything reads, and a compaction and a collection end where an undisturbed one does."""
    contents = fill(lake, tmp_path / "in", runs=3, each=10)
    saved = tmp_path / "saved"
    root = Path(lake.job.settings.root)
    shutil.copytree(root, saved)

    def run(store: FolderStore, tables: Tables) -> None:
        context = CompactContext(store, lake.job.settings.ingest.pack_target_bytes, 8 * 1024**2, lake.job.staging_dir)
        compact(context, tables, InProcess)

    store, tables = MortalStore(str(root)), MortalTables(str(root))
    run(store, tables)
    steps = [("store", n) for n in range(len(store.calls))] + [("tables", n) for n in range(len(tables.calls))]
    assert len(store.calls) >= 1
    assert tables.calls == ["blobs", "assets"]
    for what, moment in steps:
        shutil.rmtree(root)
        shutil.copytree(saved, root)
        mortal_store = MortalStore(str(root), dies_at=moment if what == "store" else -1, after=after)
        mortal_tables = MortalTables(str(root), dies_at=moment if what == "tables" else -1, after=after)
        with pytest.raises(Killed):
            run(mortal_store, mortal_tables)
        all_read(lake, contents)
        run(FolderStore(str(root)), Tables(str(root)))
        age(lake)
        lake.gc(0.0)
        found = stat(lake.job.store, lake.job.tables.dataset("blobs"), "tables/blobs")
        assert (found["packs"], found["dead_bytes"], found["orphan_bytes"], found["missing_objects"]) == (1, 0, 0, 0)
        assert all(row["file"]["uri"] == places(lake)[row["sha256"]][0] for row in lake.rows("assets"))
        all_read(lake, contents)


def test_two_compactions_at_once_move_each_blob_once(lake: Lake, tmp_path: Path) -> None:
    """The second moved the same blobs meanwhile: the first finds their rows changed and leaves them."""
    contents = fill(lake, tmp_path / "in", runs=3, each=10)
    settings = lake.job.settings
    context = CompactContext(lake.job.store, settings.ingest.pack_target_bytes, 8 * 1024**2, lake.job.staging_dir)

    class Overtaken(InProcess):
        def run(self, tasks: Any, function: Any) -> Any:
            outputs = list(super().run(tasks, function))
            lake.compact()
            yield from outputs

    report = compact(context, lake.job.tables, Overtaken)
    assert report.blobs_moved == 0
    assert len(lake.rows("blobs")) == len(contents)
    all_read(lake, contents)
    age(lake)
    assert lake.gc(0.0)["deleted"] == 4, "the three old packs and the one that lost"
    all_read(lake, contents)


def test_gc_finds_orphans_and_nothing_else(lake: Lake, tmp_path: Path) -> None:
    contents = fill(lake, tmp_path / "in", runs=2)
    large = os.urandom(9 * 1024**2)
    (tmp_path / "in" / "large.bin").write_bytes(large)
    lake.ingest(tmp_path / "in")
    store = lake.job.store
    orphans = {"packs/20200101/dead.pack", "blobs/aa/" + "aa" * 32, "blobs/aa/" + "aa" * 32 + ".about"}
    for key in orphans:
        store.put(key, b"left by a crash")
    kept = packs(lake) | {e.key for e in store.list("blobs")}
    report = lake.gc(HOURS)
    assert (report["orphans"], report["held"], report["deleted"]) == (3, 3, 0), "what is young may be a writer's"
    age(lake)
    seen = lake.gc(HOURS, dry_run=True)
    assert set(seen["keys"]) == orphans
    assert packs(lake) | {e.key for e in store.list("blobs")} == kept, "a dry run deletes nothing"
    assert set(lake.gc(HOURS)["keys"]) == orphans
    assert packs(lake) | {e.key for e in store.list("blobs")} == kept - orphans
    all_read(lake, contents)
    assert lake.gc(HOURS)["orphans"] == 0


def test_gc_leaves_what_readers_of_older_versions_need(lake: Lake, tmp_path: Path) -> None:
    contents = fill(lake, tmp_path / "in", runs=3)
    pinned = {row["sha256"]: row for row in lake.rows("blobs")}
    old = packs(lake)
    lake.compact()
    age(lake, 2 * DAY)
    assert lake.gc(HOURS)["deleted"] == 0, "a reader that began an hour ago was told of the old packs"
    assert old <= packs(lake)
    for sha256, row in pinned.items():
        assert lake.job.store.get_range(row["pack_uri"], row["offset"], row["length"]) == contents[sha256]
    assert lake.gc(0.0)["deleted"] == len(old), "nobody reads, and nothing is to be held"
    all_read(lake, contents)


def test_references_of_old_lead_to_where_the_content_lies_now(lake: Lake, tmp_path: Path) -> None:
    """An asset's row is followed without a table; when its pack is gone the table of blobs is asked."""
    contents = fill(lake, tmp_path / "in", runs=3)
    rows = lake.rows("assets")
    nowhere = Tables(str(tmp_path / "nowhere"))
    for row in rows:
        with open_recording(nowhere, lake.job.store, row) as stream:
            assert stream.read() == contents[row["sha256"]]
    lake.compact()
    age(lake)
    lake.gc(0.0)
    for row in rows:
        with open_recording(lake.job.tables, lake.job.store, row) as stream:
            assert stream.read() == contents[row["sha256"]]
        with pytest.raises(NotFound):
            open_recording(nowhere, lake.job.store, row)


def test_gc_waits_for_running_readers_and_writers(lake: Lake, tmp_path: Path) -> None:
    contents = fill(lake, tmp_path / "in", runs=2)
    store = lake.job.store
    with lease(store, "a reader", now):
        lake.compact()
        store.put("packs/20200101/mine.pack", b"a writer's, before its commit")
        assert lake.gc(0.0)["deleted"] == 0
    age(lake)
    assert lake.gc(0.0)["deleted"] == 3
    all_read(lake, contents)


def test_the_horizon_is_the_hold_or_the_oldest_holder(lake: Lake) -> None:
    at, store = now(), lake.job.store
    assert horizon(store, at, DAY) == at - DAY
    with lease(store, "a long reader", lambda: at - 3 * DAY), lease(store, "a short one", lambda: at):
        assert at - 4 * DAY < horizon(store, at, DAY) < at - 3 * DAY


def test_a_holder_that_died_holds_nothing(lake: Lake) -> None:
    store = lake.job.store
    store.put("leases/dead.json", b'{"since_utc": "2020-01-01T00:00:00+00:00"}')
    then = (now() - timedelta(hours=1)).timestamp()
    os.utime(Path(lake.job.settings.root, "leases/dead.json"), (then, then))
    lake.gc(0.0)
    assert list(store.list("leases")) == []


def test_a_lease_is_renewed_and_given_back(lake: Lake) -> None:
    store = lake.job.store
    with lease(store, "work", now, renew_s=0.05):
        (held,) = store.list("leases")
        path = Path(lake.job.settings.root, held.key)
        os.utime(path, (0, 0))
        deadline = now() + timedelta(seconds=30)
        while path.stat().st_mtime < 1 and now() < deadline:
            pass
        assert path.stat().st_mtime > 1
    assert list(store.list("leases")) == []


def test_gc_refuses_a_lake_that_lost_its_table(lake: Lake, tmp_path: Path) -> None:
    contents = fill(lake, tmp_path / "in", runs=1)
    delete_rows(lake.job.tables, "blobs", "sha256", list(contents))
    age(lake)
    with pytest.raises(PolicyRefused, match="rebuild"):
        collect(lake.job.store, lake.job.tables, now() + DAY, timedelta(0))


def test_scrub_finds_every_flipped_bit(lake: Lake, tmp_path: Path) -> None:
    """200 bits in packs and large blobs, wherever they fall; each read is right or names the blob."""
    contents = fill(lake, tmp_path / "in", runs=3, each=60)
    for number in range(3):
        (tmp_path / "in" / f"large-{number}.bin").write_bytes(random.Random(number).randbytes(9 * 1024**2))
    lake.ingest(tmp_path / "in")
    contents = {row["sha256"]: (tmp_path / "in" / row["path"]).read_bytes() for row in lake.rows("assets")}
    assert (lake.scrub()["damaged"], lake.scrub()["blobs"]) == (0, len(contents))
    saved = tmp_path / "saved"
    shutil.copytree(lake.job.settings.root, saved)
    objects = [e for prefix in ("packs", "blobs") for e in lake.job.store.list(prefix)]
    draw = random.Random(5)
    flipped = found = 0
    while flipped < 200:
        # One bit in each object at a time; every fourth one where headers, footers and checksums lie.
        places = {}
        for entry in objects[: 200 - flipped]:
            share = draw.choice([0.0, 0.9999]) if draw.random() < 0.25 else draw.random()
            places[entry.key] = min(int(share * entry.size_bytes), entry.size_bytes - 1)
            flip(lake, entry.key, places[entry.key])
        report = lake.scrub()
        told = {finding["key"] for finding in report["findings"]}
        found += sum(key in told for key in places)
        flipped += len(places)
        hurt = {finding["sha256"] for finding in report["findings"]}
        for sha256, read in read_all(lake).items():
            if isinstance(read, LakeError):
                assert sha256 in str(read)
                assert sha256 in hurt
            else:
                assert read == contents[sha256]
        for key in places:
            shutil.copyfile(saved / key, Path(lake.job.settings.root, key))
    assert (flipped, found) == (200, 200)


def test_a_scrub_goes_on_where_it_was(lake: Lake, tmp_path: Path) -> None:
    fill(lake, tmp_path / "in", runs=3, each=10)
    first = lake.scrub(30.0)
    assert (first["objects"], first["skipped"]) == (len(packs(lake)), 0)
    (tmp_path / "in" / "later.bin").write_bytes(b"a later delivery")
    lake.ingest(tmp_path / "in")
    second = lake.scrub(30.0)
    assert (second["objects"], second["skipped"]) == (len(packs(lake)) - first["objects"], first["objects"])


def test_what_is_hurt_is_restored_from_a_replica_or_quarantined(lake: Lake, tmp_path: Path) -> None:
    contents = fill(lake, tmp_path / "in", runs=2)
    replica = tmp_path / "replica"
    shutil.copytree(lake.job.settings.root, replica)
    bad = lake.rows("blobs")[3]
    flip(lake, bad["pack_uri"], bad["offset"])
    single = lake.scrub(repair=True)
    assert (single["damaged"], single["repaired"], single["quarantined"]) == (1, 0, 1)
    assert single["assets"] == [r["asset_id"] for r in lake.rows("assets") if r["sha256"] == bad["sha256"]]
    assert lake.scrub(repair=True)["quarantined"] == 0, "one row a blob"
    assert [r["sha256"] for r in lake.rows("quarantine") if r["stage"] == "scrub"] == [bad["sha256"]]
    mended = lake.scrub(repair=True, replica=str(replica))
    assert (mended["damaged"], mended["repaired"]) == (1, 1)
    all_read(lake, contents)
    assert lake.scrub()["damaged"] == 0
    assert local_sql(lake.job.tables, "SELECT * FROM quarantine_open").num_rows == 0, "mended, and no more in the way"


def test_a_replica_that_is_none_is_told_before_anything_is_read(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for replica in (tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(NotFound, match=replica.name):
            lake.scrub(repair=True, replica=str(replica))


def test_scrub_names_what_is_missing(lake: Lake, tmp_path: Path) -> None:
    fill(lake, tmp_path / "in", runs=2, each=5)
    gone = lake.rows("blobs")[0]["pack_uri"]
    lake.job.store.delete(gone)
    report = lake.scrub()
    assert (report["missing"], {f["key"] for f in report["findings"]}) == (1, {gone})
    assert {f["sha256"] for f in report["findings"]} == {
        r["sha256"] for r in lake.rows("blobs") if r["pack_uri"] == gone
    }


def test_upkeep_merges_files_and_keeps_every_row(lake: Lake, tmp_path: Path) -> None:
    contents = fill(lake, tmp_path / "in", runs=10, each=4)
    before = {name: sorted(map(str, lake.rows(name))) for name in ("arrivals", "blobs", "quarantine")}
    report = maintain(lake.job, Invocation(json=True), OneEngine(lake.job, lake.engine), 1)
    tables = report["tables"]
    assert tables["arrivals"]["files_before"] == 10
    assert tables["arrivals"]["files_after"] == 1
    assert sorted(map(str, lake.rows("arrivals"))) == before["arrivals"]
    assert sorted(map(str, lake.rows("quarantine"))) == before["quarantine"]
    all_read(lake, contents)
    assert lake.ingest(tmp_path / "in")["arrivals"] == 0


def test_upkeep_takes_what_a_killed_run_spooled_and_nothing_of_one_at_work(lake: Lake) -> None:
    staging = Path(lake.job.settings.root, STAGING)
    engines = OneEngine(lake.job, lake.engine)

    def spooled(name: str, at: datetime) -> None:
        (staging / name / "lake-1").mkdir(parents=True)
        (staging / name / "lake-1" / "large-0").write_bytes(b"recording")
        os.utime(staging / name, (at.timestamp(), at.timestamp()))

    spooled("run-killed", now() - 4 * DAY)
    spooled("run-at-work", now() - 2 * DAY)
    with lease(lake.job.store, "ingest", lambda: now() - 3 * DAY):
        maintain(lake.job, Invocation(json=True), engines, 1, dry_run=True)
        assert {path.name for path in staging.iterdir()} == {"run-killed", "run-at-work"}
        maintain(lake.job, Invocation(json=True), engines, 1)
        assert {path.name for path in staging.iterdir()} == {"run-at-work"}
    maintain(lake.job, Invocation(json=True), engines, 24 * 3)
    assert {path.name for path in staging.iterdir()} == {"run-at-work"}, "it is within the hold"
    maintain(lake.job, Invocation(json=True), engines, 24)
    assert list(staging.iterdir()) == []


def test_the_same_on_a_bucket(
    minio: MinioServer, bucket: str, local_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = bucket_lake(minio, bucket, local_engine, monkeypatch)
    contents = fill(lake, tmp_path / "in", runs=3, each=10)
    old = packs(lake)
    assert lake.compact()["blobs_moved"] == len(contents)
    assert lake.gc(HOURS)["deleted"] == 0
    time.sleep(1.1)  # a bucket tells times in whole seconds
    assert set(lake.gc(0.0)["keys"]) == old
    assert list(lake.job.store.list("leases")) == list(lake.job.store.list("locks")) == []
    report = maintain(lake.job, Invocation(json=True), OneEngine(lake.job, lake.engine), 1)
    assert (report["compact"]["rewritten"], report["gc"]["deleted"]) == (0, 0)
    assert (lake.scrub()["damaged"], lake.scrub()["blobs"]) == (0, len(contents))
    all_read(lake, contents)
    assert lake.ingest(tmp_path / "in")["arrivals"] == 0


def table_files(lake: Lake) -> list[Path]:
    """Every file of the tables and their logs that never changes, but for those of the scrubs themselves."""
    root = Path(lake.job.settings.root)
    found = [path for folder in ("tables", "features") for path in sorted((root / folder).rglob("*"))]
    changing = ("_last_checkpoint", "_usage.json.z")
    return [p for p in found if p.is_file() and p.name not in changing and "tables/scrubs" not in str(p)]


def settled(lake: Lake) -> None:
    """Make the tables' files as old as those of a lake that nobody writes to just now."""
    for path in table_files(lake):
        then = path.stat().st_mtime - 2 * 3600
        os.utime(path, (then, then))


def with_a_bit_flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


def test_scrub_finds_every_flipped_bit_of_the_tables(lake: Lake, tmp_path: Path) -> None:
    """Rows, statistics, logs: 200 bits anywhere in them, and nothing is told of what is whole."""
    fill(lake, tmp_path / "in", runs=2)
    settled(lake)
    files = table_files(lake)
    report = lake.scrub()
    assert report["damaged"] == 0
    known = known_files(lake.job.tables)
    root = Path(lake.job.settings.root)
    draw = random.Random(9)
    assert known.keys() >= {str(path.relative_to(root)) for path in files}
    flipped = 0
    while flipped < 200:
        whole = {path: path.read_bytes() for path in files}
        hit = draw.sample(sorted(whole), min(len(whole) // 2, 200 - flipped))
        for path in hit:
            path.write_bytes(with_a_bit_flipped(whole[path], draw.randrange(len(whole[path]))))
            os.utime(path, (0, 0))
        checks = list(check_files(lake.job.store, known, now()))
        assert {root / check.entry.key for check in checks if check.damage} == set(hit)
        flipped += len(hit)
        for path in hit:
            path.write_bytes(whole[path])
            os.utime(path, (0, 0))
    assert lake.scrub()["damaged"] == 0


def test_a_hurt_file_of_a_table_is_told_and_restored(lake: Lake, tmp_path: Path) -> None:
    fill(lake, tmp_path / "in", runs=1)
    settled(lake)
    lake.scrub()
    replica = tmp_path / "replica"
    shutil.copytree(lake.job.settings.root, replica)
    path = next(path for path in table_files(lake) if "tables/assets/part" in str(path))
    whole = path.read_bytes()
    path.write_bytes(with_a_bit_flipped(whole, len(whole) - 40))
    os.utime(path, (0, 0))
    report = lake.scrub()
    assert (report["damaged"], report["repaired"]) == (1, 0)
    assert str(path.relative_to(lake.job.settings.root)) in report["findings"][0]["said"]
    assert (lake.scrub(repair=True, replica=str(replica))["repaired"], path.read_bytes()) == (1, whole)
    assert lake.scrub()["damaged"] == 0


def test_a_file_that_was_hurt_before_the_first_scrub_is_told_where_it_cannot_be_read(
    lake: Lake, tmp_path: Path
) -> None:
    fill(lake, tmp_path / "in", runs=1)
    settled(lake)
    path = next(path for path in table_files(lake) if "tables/assets/part" in str(path))
    path.write_bytes(path.read_bytes()[:-100])
    os.utime(path, (0, 0))
    assert "cannot be read" in lake.scrub()["findings"][0]["said"]
    assert lake.scrub()["damaged"] == 1, "a hurt file is not noted as one that has to be so"


def test_a_lake_of_before_gets_the_column_that_scrubs_note_in(lake: Lake, tmp_path: Path) -> None:
    fill(lake, tmp_path / "in", runs=1)
    shutil.rmtree(Path(lake.job.tables.uri("scrubs")))
    lake.job.tables.create("scrubs", SCRUBS.remove(SCRUBS.get_field_index("crc32c")))
    settled(lake)
    assert lake.scrub()["damaged"] == 0
    assert known_files(lake.job.tables)
