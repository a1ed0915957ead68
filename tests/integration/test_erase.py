"""Erasure is physical: reads stop, a planted word is nowhere any more, all else stays what it was."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import lake.history
from jobs.cli import Invocation
from jobs.upkeep import maintain
from lake.engine import Engine
from lake.errors import CommitConflict, NotFound
from lake.library.catalog import library_table
from lake.store.alone import alone, at_work
from lake.store.objects import FolderStore
from lake.store.stat import stat
from lake.tables import Tables
from tests.integration.conftest import publish
from tests.support.canary import files, traces, versions
from tests.support.lakes import ROOT, Lake, OneEngine, bucket_lake, command, new_lake
from tests.support.minio import MinioServer

pytestmark = pytest.mark.timeout(300)

CANARY = "Zaunkönig-7731"
BY_WORD = f"SELECT sha256 FROM feature_document_text WHERE text LIKE '%{CANARY}%'"


@pytest.fixture
def lake_here(tmp_path: Path, local_engine: Engine) -> Lake:
    return new_lake(str(tmp_path / "lake"), local_engine)


def source(folder: Path) -> Path:
    """Documents, two of them with the canary, one of these twice; and a large recording."""
    (folder / "scans").mkdir(parents=True)
    (folder / "scans" / "letter.txt").write_text(f"Dear all, {CANARY} was here.\n", encoding="utf-8")
    (folder / "scans" / "copy.txt").write_text(f"Dear all, {CANARY} was here.\n", encoding="utf-8")
    (folder / "scans" / "report.md").write_text(f"# {CANARY}\n\nwas seen again.\n", encoding="utf-8")
    for number in range(12):
        (folder / "scans" / f"other-{number:02}.txt").write_text(f"Nothing happened on day {number}.\n")
    (folder / "large.txt").write_text(f"{CANARY} " + "many words " * 900_000, encoding="utf-8")
    return folder


def filled(lake: Lake, folder: Path) -> dict[str, bytes]:
    """A lake with the canary in all places where a recording leaves something; the other contents by sha256."""
    source(folder)
    lake.ingest(folder)
    lake.analyze("document_text")
    tables = lake.job.tables
    texts = tables.dataset("feature_document_text").to_table(columns=["sha256", "text"])
    assets = tables.dataset("assets").to_table(columns=["asset_id", "path"])
    publish(tables, "letters", "texts", texts)  # and rows of a killed build above what is published
    publish(tables, "letters", "paths", assets)
    lake.compact()  # the packs before it hold the contents too
    return {
        row["sha256"]: (folder / row["path"]).read_bytes()
        for row in lake.rows("assets")
        if CANARY.encode() not in (folder / row["path"]).read_bytes()
    }


def erased_and_nothing_else(lake: Lake, folder: Path, others: dict[str, bytes]) -> None:
    """All but the erased reads as before, and the erased is not taken in again."""
    assert {row["sha256"]: lake.read(row["asset_id"]) for row in lake.rows("assets")} == others
    assert {row["sha256"] for row in lake.rows("blobs")} == others.keys()
    assert {row["sha256"] for row in lake.rows("feature_document_text")} == others.keys()
    texts = library_table(lake.job.tables, "letters", "texts")
    assert sorted(texts.column("sha256").to_pylist()) == sorted(others)
    paths = library_table(lake.job.tables, "letters", "paths")
    assert sorted(paths.column("asset_id").to_pylist()) == sorted(row["asset_id"] for row in lake.rows("assets"))
    states = [row["state"] for row in lake.rows("arrivals")]
    assert (states.count("erased"), states.count("landed"), len(states)) == (4, 12, 16)
    assert lake.ingest(folder)["arrivals"] == 0
    found = stat(lake.job.store, lake.job.tables.dataset("blobs"), "tables/blobs")
    assert (found["dead_bytes"], found["missing_objects"]) == (0, 0)


def test_the_word_is_nowhere_any_more(lake_here: Lake, tmp_path: Path) -> None:
    lake, folder = lake_here, tmp_path / "in"
    root = Path(lake.job.settings.root)
    others = filled(lake, folder)
    left = root / ".staging" / "lake-killed"
    left.mkdir(parents=True)
    (left / "spooled").write_text(CANARY, encoding="utf-8")
    gone = [row for row in lake.rows("assets") if row["sha256"] not in others]
    before = traces(CANARY, files(root))
    assert {name.split("/")[0] for name in before} == {"packs", "blobs", "features", "libraries", ".staging"}
    planned = lake.erase(query=BY_WORD, dry_run=True)
    assert traces(CANARY, files(root)) == before, "a dry run changes nothing"

    report = lake.erase(query=BY_WORD)

    assert report["unresolved"] == []
    assert (report["contents"], report["assets"]) == (3, 4), "what has the same bytes goes too"
    assert traces(CANARY, files(root)) == []
    erased_and_nothing_else(lake, folder, others)
    maintain(lake.job, Invocation(json=True), OneEngine(lake.job, lake.engine), 1)
    erased_and_nothing_else(lake, folder, others)
    for asset in gone:
        for name in (asset["asset_id"], asset["sha256"], asset):
            with pytest.raises(NotFound, match="was erased on"):
                lake.read(name)
    listed = ("content", "asset", "rows", "object")
    done = [row for row in report["removals"] if row["kind"] in listed]
    assert sorted(map(str, done)) == sorted(map(str, planned["removals"])), "the dry run listed the same"
    certified = [{name: row[name] for name in ("kind", "name", "rows", "size_bytes")} for row in lake.rows("erasures")]
    ended = {"kind": "done", "name": "", "rows": None, "size_bytes": None}
    assert sorted(map(str, certified)) == sorted(map(str, [ended, *report["removals"]]))
    assert {row["reason"] for row in lake.rows("erasures")} == {"asked for"}


def test_erased_bytes_are_not_taken_in_again(lake_here: Lake, tmp_path: Path) -> None:
    lake, folder = lake_here, tmp_path / "in"
    filled(lake, folder)
    lake.erase(query=BY_WORD)
    shutil.copyfile(folder / "scans" / "letter.txt", folder / "again.txt")
    shutil.copyfile(folder / "large.txt", folder / "again-large.txt")
    (folder / "new.txt").write_text("new words", encoding="utf-8")
    report = lake.ingest(folder)
    assert (report["arrivals"], report["landed"], report["erased"], report["duplicates"]) == (3, 1, 2, 0)
    assert traces(CANARY, files(Path(lake.job.settings.root))) == []
    assert lake.ingest(folder)["arrivals"] == 0


def test_a_rebuild_brings_nothing_back(lake_here: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while the packs still hold the contents: the index made anew from them does not name them."""
    lake, folder = lake_here, tmp_path / "in"
    others = filled(lake, folder)
    dies_at(monkeypatch, "object")
    with pytest.raises(Killed):
        lake.erase(query=BY_WORD)
    monkeypatch.undo()
    lake.rebuild()
    assert {row["sha256"] for row in lake.rows("blobs")} == others.keys()


class Killed(BaseException):
    """What a kill looks like from inside: nothing handles it."""


class Steps:
    """Counts every write and every deletion, and ends the process before one of them, or just after it."""

    def __init__(self, patch: pytest.MonkeyPatch, dies_at: int = -1, after: bool = False) -> None:
        self.count = 0
        self.dies_at = dies_at
        self.after = after
        for place, name in (
            (FolderStore, "put"),
            (FolderStore, "put_if_absent"),
            (FolderStore, "delete"),
            (Tables, "append"),
            (Tables, "commit"),
            (lake.history, "_delete"),
        ):
            patch.setattr(place, name, self._counted(getattr(place, name)))

    def _counted(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            dies = self.count == self.dies_at
            self.count += 1
            if dies and not self.after:
                raise Killed
            answer = step(*args, **options)
            if dies:
                raise Killed
            return answer

        return counted


def dies_at(patch: pytest.MonkeyPatch, what: str) -> None:
    """Have an erasure die when it comes to this kind of removal."""
    import lake.catalog.erase as module

    certify = module.certify

    def dying(tables: Tables, rows: Any) -> None:
        if any(row["kind"] == what for row in rows):
            raise Killed
        certify(tables, rows)

    patch.setattr(module, "certify", dying)


def ends_right(lake: Lake, saved: Path, others: dict[str, bytes], folder: Path, step: int, after: bool) -> None:
    """Killed at a step of an erasure and run again: as if it had not been killed."""
    root = Path(lake.job.settings.root)
    shutil.rmtree(root)
    shutil.copytree(saved, root)
    with pytest.MonkeyPatch.context() as patch:
        Steps(patch, step, after)
        with contextlib.suppress(Killed):
            lake.erase(query=BY_WORD)
    for held in ("locks", "leases"):
        # This process lives, and so would what it held; that of a killed one is dead at once.
        shutil.rmtree(root / held, ignore_errors=True)
    for sha256, data in others.items():
        assert lake.read(sha256) == data
    try:
        lake.erase()
    except NotFound:
        # Before its first step was done, or after its last one.
        if traces(CANARY, files(root)):
            lake.erase(query=BY_WORD)
    assert traces(CANARY, files(root)) == [], f"killed at step {step}"
    erased_and_nothing_else(lake, folder, others)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("stride", [17, pytest.param(3, marks=pytest.mark.full)])
def test_killed_at_any_step_and_run_again(lake_here: Lake, tmp_path: Path, after: bool, stride: int) -> None:
    lake, folder = lake_here, tmp_path / "in"
    others = filled(lake, folder)
    shutil.copytree(lake.job.settings.root, tmp_path / "saved")
    with pytest.MonkeyPatch.context() as patch:
        undisturbed = Steps(patch)
        lake.erase(query=BY_WORD)
    assert undisturbed.count > 40
    for step in range(0, undisturbed.count, stride):
        ends_right(lake, tmp_path / "saved", others, folder, step, after)


def test_no_older_version_of_an_object_is_left(
    minio: MinioServer, bucket: str, local_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a bucket that keeps versions, what was deleted or overwritten goes too."""
    from minio.commonconfig import ENABLED
    from minio.versioningconfig import VersioningConfig

    minio.client.set_bucket_versioning(bucket_name=bucket, config=VersioningConfig(ENABLED))
    lake, folder = bucket_lake(minio, bucket, local_engine, monkeypatch), tmp_path / "in"
    others = filled(lake, folder)
    assert len(traces(CANARY, versions(minio.client, bucket))) >= 5
    report = lake.erase(query=BY_WORD)
    assert report["versions"] > 0
    assert traces(CANARY, versions(minio.client, bucket)) == []
    erased_and_nothing_else(lake, folder, others)


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(str(tmp_path))


def test_who_is_alone_waits_for_those_at_work_and_they_for_him(store: FolderStore) -> None:
    order: list[str] = []
    waited: list[str] = []
    may_end = threading.Event()

    def works(name: str) -> None:
        with at_work(store, name, now, lambda holder: waited.append(holder.what)):
            order.append(f"{name} begins")
            may_end.wait(30)
            order.append(f"{name} ends")

    first = threading.Thread(target=works, args=("first",))
    first.start()
    soon(lambda: order == ["first begins"])
    later = threading.Thread(target=works, args=("second",))

    def is_alone() -> None:
        with alone(store, now, lambda holder: waited.append(holder.what)):
            order.append("alone begins")
            later.start()
            soon(lambda: "erasure" in waited)
            order.append("alone ends")

    lonely = threading.Thread(target=is_alone)
    lonely.start()
    soon(lambda: waited == ["first"])
    may_end.set()
    for thread in (first, lonely, later):
        thread.join(60)
    assert order == ["first begins", "first ends", "alone begins", "alone ends", "second begins", "second ends"]
    assert waited == ["first", "erasure"]


def soon(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_who_never_ends_is_named(store: FolderStore) -> None:
    with (
        at_work(store, "a long ingest", now),
        pytest.raises(CommitConflict, match="a long ingest by process"),
        alone(store, now, wait=timedelta(seconds=0)),
    ):
        pytest.fail("not alone")


@pytest.fixture
def said(lake_here: Lake, tmp_path: Path) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Runs ``lake store erase`` on a filled lake; gives its exit status, stdout and stderr."""
    filled(lake_here, tmp_path / "in")

    def run(*arguments: str) -> tuple[int, str, str]:
        process = command(lake_here, "store", "erase", *arguments)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    yield run


def test_the_command(lake_here: Lake, said: Callable[..., tuple[int, str, str]]) -> None:
    """What is wrong is told in one line; a query is not repeated in the record of the run."""
    for arguments, status, text in (
        ((), 2, "name recordings, --device or --query"),
        (("--query", BY_WORD), 2, "say why with --reason"),
        (("--query", BY_WORD, "--reason", "asked"), 2, "say --yes, or --dry-run"),
        (("--query", "SELECT 1 AS one", "--reason", "asked", "--yes"), 2, "asset_id or sha256"),
        (("--device", "no-such", "--reason", "asked", "--yes"), 1, "no recording of device 'no-such'"),
        (("--finish",), 1, "nothing to erase"),
    ):
        code, _, err = said(*arguments)
        lines = err.strip().splitlines()
        assert (code, len(lines)) == (status, 1), err
        assert lines[0].startswith("lake: ") and text in lines[0]
    code, out, _ = said("--query", BY_WORD, "--dry-run", "--json")
    assert code == 0 and json.loads(out)["assets"] == 4
    code, out, err = said("--query", BY_WORD, "--reason", "asked", "--yes", "--json")
    assert code == 0, err
    assert json.loads(out)["unresolved"] == []
    assert traces(CANARY, files(Path(lake_here.job.settings.root))) == []
    assert any("--query …" in row["arguments"] for row in lake_here.rows("runs"))


THEME = """
name: words
title: {zh: 词, en: Words}
owner: Archive
description: The longest letter of each kind of recording.
inputs: [assets, feature_document_text]
tables:
  longest:
    description: One row a kind of recording; it leads to none of them.
    key: [media_kind]
    sql: |
      SELECT a.media_kind, max_by(f.text, f.text) AS text, count(*) AS letters
      FROM assets a JOIN feature_document_text f USING (sha256)
      GROUP BY a.media_kind
"""


def test_a_library_whose_rows_lead_to_no_recording_is_built_anew(lake_here: Lake, tmp_path: Path) -> None:
    lake, folder, conf = lake_here, tmp_path / "in", tmp_path / "conf"
    shutil.copytree(ROOT / "conf", conf)
    shutil.rmtree(conf / "themes")
    (conf / "themes").mkdir()
    (conf / "themes" / "words.yaml").write_text(THEME, encoding="utf-8")
    folder.mkdir()
    (folder / "b.txt").write_text("Apples", encoding="utf-8")
    (folder / "a.txt").write_text(f"Zwischenfall: {CANARY}", encoding="utf-8")
    lake.ingest(folder)
    lake.analyze("document_text")
    ended(command(lake, "library", "build", "words", LAKE_CONF=str(conf)), 0)
    assert CANARY in library_table(lake.job.tables, "words", "longest").column("text")[0].as_py()

    erase = ("store", "erase", "--query", BY_WORD, "--reason", "asked", "--yes")
    (conf / "themes" / "words.yaml").rename(conf / "words.yaml")
    said = ended(command(lake, *erase, LAKE_CONF=str(conf)), 3)
    assert "library words is described no more" in said and "--finish" in said
    (conf / "words.yaml").rename(conf / "themes" / "words.yaml")
    ended(command(lake, "store", "erase", "--finish", LAKE_CONF=str(conf)), 0)

    assert library_table(lake.job.tables, "words", "longest").to_pylist() == [
        {"media_kind": "document", "text": "Apples", "letters": 1}
    ]
    assert traces(CANARY, files(Path(lake.job.settings.root))) == []


def ended(process: subprocess.Popen[str], status: int) -> str:
    """What a command said on stderr, when it ended as it should."""
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == status, stderr
    return stderr
