"""The table of blobs is lost; the packs alone bring it back, row for row."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.cli import Invocation, cli
from lake.schema import ARRIVALS, ASSETS, BLOBS
from lake.store import index as store_index
from lake.store import rebuild as store_rebuild
from lake.store.about import about_key
from lake.store.stat import stat
from tests.support.lakes import Lake
from tests.support.packs import without_footer
from tests.support.recordings import recordings

pytestmark = pytest.mark.timeout(300)

LARGE_BYTES = 8 * 1024**2
TOLD = ("sha256", "size_bytes", "pack_uri", "offset", "length", "codec", "crc32c", "content_type", "device_id")


@pytest.fixture
def filled(local_lake: Lake, tmp_path: Path) -> Lake:
    """A lake of one recording of each kind, known devices, a large one, and one content twice."""
    source = tmp_path / "in"
    for folder in ("cam-gate", "mic-01", "other"):
        (source / folder).mkdir(parents=True)
    for number, recording in enumerate(recordings()):
        (source / ("cam-gate", "mic-01", "other")[number % 3] / recording.name).write_bytes(recording.data)
    (source / "cam-gate" / "large.bin").write_bytes(b"large recording " * (LARGE_BYTES // 16))
    (source / "other" / "twin.bin").write_bytes(b"twin")
    (source / "cam-gate" / "twin.bin").write_bytes(b"twin")
    local_lake.ingest(source)
    return local_lake


def rows(lake: Lake, columns: tuple[str, ...] = TOLD) -> list[tuple[Any, ...]]:
    return sorted(tuple(map(str, (row[column] for column in columns))) for row in lake.rows("blobs"))


def lose_table(lake: Lake) -> None:
    shutil.rmtree(Path(lake.job.tables.uri("blobs")))


def rebuilt(lake: Lake, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit status and document of the command."""
    command = ["store", "rebuild", "--json", *arguments]
    done = CliRunner().invoke(cli, command, obj=Invocation(root=lake.job.store.root), standalone_mode=False)
    assert done.exception is None, done.exception
    return int(done.return_value), json.loads(done.stdout)


def test_by_footers_and_by_frames(filled: Lake) -> None:
    before, before_all = rows(filled), rows(filled, (*TOLD, "arrival_id", "first_seen_at_utc"))
    assert len({row[8] for row in before}) >= 2, "some device is known"
    assert any(row[2].startswith("blobs/") for row in before)
    packs = [entry.key for entry in filled.job.store.list("packs")]
    lose_table(filled)
    filled.job.tables.create("blobs", BLOBS)
    report = filled.rebuild()
    assert rows(filled) == before
    assert rows(filled, (*TOLD, "arrival_id", "first_seen_at_utc")) == before_all
    assert (report["packs"], report["from_footers"], report["from_frames"]) == (len(packs), len(packs), 0)
    assert (report["blobs"], report["added"], report["damaged"]) == (len(before), len(before), 0)
    for key in packs:
        filled.job.store.put(key, without_footer(filled.job.store.get(key)))
    lose_table(filled)
    report = filled.rebuild()
    assert rows(filled) == before
    assert (report["from_footers"], report["from_frames"], report["damaged"]) == (0, len(packs), 0)
    for row in filled.rows("assets"):
        assert len(filled.read(row["asset_id"])) == row["size_bytes"]


def test_the_command_adds_what_is_missing_and_no_more(filled: Lake) -> None:
    before = rows(filled)
    lose_table(filled)
    filled.job.tables.create("blobs", BLOBS)
    status, document = rebuilt(filled, "--dry-run")
    assert (status, document["added"], document["run_id"]) == (0, len(before), None)
    assert rows(filled) == []
    status, document = rebuilt(filled)
    assert (status, document["added"]) == (0, len(before))
    assert set(document) >= {"packs", "from_footers", "from_frames", "damaged", "blobs", "added", "seconds"}
    version = filled.job.tables.open("blobs").version()
    status, document = rebuilt(filled)
    assert (status, document["blobs"], document["added"]) == (0, len(before), 0)
    assert rows(filled) == before
    assert filled.job.tables.open("blobs").version() == version
    runs = [row for row in filled.rows("runs") if row["verb"] == "store rebuild" and row["state"] == "done"]
    assert sorted((run["rows_in"], run["rows_out"]) for run in runs) == [(len(before), 0), (len(before), len(before))]


def test_what_is_lost_is_told_and_the_rest_comes_back(filled: Lake) -> None:
    before = rows(filled)
    victim = next(row for row in filled.rows("blobs") if row["pack_uri"].startswith("packs/") and row["length"] > 100)
    path = Path(filled.job.store.root, victim["pack_uri"])
    data = bytearray(without_footer(path.read_bytes()))
    data[victim["offset"] + 50] ^= 1
    path.write_bytes(data)
    large = next(row for row in filled.rows("blobs") if row["pack_uri"].startswith("blobs/"))
    filled.job.store.delete(about_key(large["pack_uri"]))
    lose_table(filled)
    status, document = rebuilt(filled)
    assert (status, document["damaged"], document["added"]) == (3, 2, len(before) - 1)
    assert any(victim["sha256"] in finding for finding in document["findings"])
    lost = {victim["sha256"], large["sha256"]}
    assert [row for row in rows(filled) if row[0] not in lost] == [row for row in before if row[0] not in lost]


def test_small_batches_give_the_same(filled: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_rebuild, "BATCH_BLOBS", 1)
    monkeypatch.setattr(store_index, "TAIL_BYTES", 32)
    before = rows(filled)
    lose_table(filled)
    pack = next(entry.key for entry in filled.job.store.list("packs"))
    filled.job.store.put(pack.replace(".pack", "-copy.pack"), filled.job.store.get(pack))
    filled.job.tables.create("blobs", BLOBS)
    _, dry = rebuilt(filled, "--dry-run")
    _, done = rebuilt(filled)
    assert dry["added"] == done["added"] == len(before)
    assert done["blobs"] > len(before)
    assert [row[0] for row in rows(filled)] == [row[0] for row in before]


def test_stat_counts_what_lies_in_the_store(filled: Lake) -> None:
    """Bytes by bytes: payload, framing, dead payload, orphans and descriptions are all of the store and never twice."""
    job = filled.job

    def told() -> dict[str, Any]:
        return stat(job.store, job.tables.dataset("blobs"), job.tables.folder("blobs"))

    blobs = filled.rows("blobs")
    packs = {row["pack_uri"] for row in blobs if row["pack_uri"].startswith("packs/")}
    (about,) = (entry.size_bytes for entry in job.store.list("blobs") if entry.key.endswith(".about"))
    objects = sum(entry.size_bytes for prefix in ("packs", "blobs") for entry in job.store.list(prefix))
    payload = sum(row["length"] for row in blobs)
    before = told()
    assert (before["blobs"], before["packs"], before["large_blobs"]) == (len(blobs), len(packs), 1)
    assert (before["payload_bytes"], before["bytes"]) == (payload, payload)
    assert (before["dead_bytes"], before["orphan_bytes"], before["missing_objects"]) == (0, 0, 0)
    assert before["framing_bytes"] + payload + about == objects
    assert before["overhead_bytes"] == before["framing_bytes"] + about + before["table_bytes"]
    assert 0 < before["framing_bytes"] < 300 * len(blobs)
    victim = next(row for row in blobs if row["pack_uri"] in packs and row["length"] > 1000)
    job.tables.open("blobs").delete(f"sha256 = '{victim['sha256']}'")
    after = told()
    assert after["dead_bytes"] == victim["length"]
    assert (after["framing_bytes"], after["orphan_bytes"]) == (before["framing_bytes"], 0)
    (staged,) = sorted(packs)[:1]
    job.store.put("packs/20260101/orphan.pack", job.store.get(staged))
    assert told()["orphan_bytes"] == job.store.stat(staged).size_bytes
    job.store.put(staged, without_footer(job.store.get(staged)))
    assert told()["dead_bytes"] == (0 if staged == victim["pack_uri"] else victim["length"])
    job.store.delete(staged)
    assert told()["missing_objects"] == 1


def test_assets_are_found_again_as_they_were(filled: Lake) -> None:
    """What arrived says under which name and when; what it is is read from the bytes again, broken ones too."""
    before = sorted(filled.rows("assets"), key=lambda row: str(row["asset_id"]))
    versions = filled.versions()
    assert filled.rebuild()["assets"] == 0
    assert filled.versions() == versions, "nothing was missing, nothing is written"
    shutil.rmtree(Path(filled.job.tables.uri("assets")))
    filled.job.tables.create("assets", ASSETS)
    assert rebuilt(filled, "--dry-run")[1]["assets"] == len(before)
    assert filled.rebuild()["assets"] == len(before)
    assert sorted(filled.rows("assets"), key=lambda row: str(row["asset_id"])) == before
    assert filled.rebuild()["assets"] == 0


def test_without_arrivals_a_recording_is_known_by_its_content(filled: Lake) -> None:
    facts = ("size_bytes", "container", "codecs", "duration_s", "width_px", "sample_rate_hz", "pages")
    before = {row["sha256"]: row for row in filled.rows("assets")}
    devices = {row["sha256"]: row["device_id"] for row in filled.rows("blobs")}
    for name, schema in (("assets", ASSETS), ("arrivals", ARRIVALS)):
        shutil.rmtree(Path(filled.job.tables.uri(name)))
        filled.job.tables.create(name, schema)
    assert filled.rebuild()["assets"] == len(before)
    after = {row["sha256"]: row for row in filled.rows("assets")}
    assert {(row["source"], row["path"]) for row in after.values()} == {("stored://", sha256) for sha256 in before}
    assert {sha256: row["device_id"] for sha256, row in after.items()} == devices
    # Kinds of text are told apart by the name, which is lost.
    same = [sha256 for sha256, row in after.items() if row["content_type"] == before[sha256]["content_type"]]
    assert len(same) > 0.8 * len(before)
    for sha256 in same:
        assert [after[sha256][name] for name in facts] == [before[sha256][name] for name in facts]


def test_a_damaged_blob_costs_only_its_own_asset(filled: Lake) -> None:
    before = {row["asset_id"]: row["sha256"] for row in filled.rows("assets")}
    bad = next(row for row in filled.rows("blobs") if "wav" in str(row["content_type"]))
    path = Path(filled.job.settings.root, bad["pack_uri"])
    data = bytearray(path.read_bytes())
    data[bad["offset"] + 60] ^= 1
    path.write_bytes(data)
    shutil.rmtree(Path(filled.job.tables.uri("assets")))
    filled.job.tables.create("assets", ASSETS)
    hurt = {asset_id for asset_id, sha256 in before.items() if sha256 == bad["sha256"]}
    assert filled.rebuild()["assets"] == len(before) - len(hurt)
    assert {row["asset_id"] for row in filled.rows("assets")} == before.keys() - hurt
