"""Real recordings into a folder and into MinIO, by each engine: nothing lost, every byte read back, nothing twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from lake.engine import Engine
from tests.support import corpus_checks as check
from tests.support.corpus import Corpus
from tests.support.lakes import Lake, new_lake
from tests.support.minio import MinioServer

pytestmark = pytest.mark.timeout(600)


def check_all(lake: Lake, corpus: Corpus) -> None:
    """Everything that must hold, in the order in which the folder may be changed."""
    tables = lake.job.tables
    report = lake.ingest(corpus.folder)
    check.check_counts(tables, corpus, report)
    check.check_sha256(tables, corpus)
    check.check_bytes(tables, lake.job.store, corpus)
    check.check_second_run(tables, corpus, lake.ingest)
    check.check_new_files(tables, corpus, lake.ingest)
    check.check_overwritten(tables, corpus, lake.ingest)
    check.check_renamed(tables, corpus, lake.ingest)


def test_in_a_folder(tmp_path: Path, lake: Lake, corpus: Corpus) -> None:
    check_all(lake, corpus.copy_to(tmp_path / "in"))


def test_in_minio(
    tmp_path: Path,
    local_engine: Engine,
    corpus: Corpus,
    minio: MinioServer,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in minio.environ().items():
        monkeypatch.setenv(name, value)
    copy = corpus.copy_to(tmp_path / "in")
    lakes = [new_lake(root, local_engine) for root in (f"s3://{bucket}/city", str(tmp_path / "lake"))]
    reports = [lake.ingest(copy.folder) for lake in lakes]
    states = ("arrivals", "landed", "duplicates", "quarantined", "bytes")
    assert [reports[0][name] for name in states] == [reports[1][name] for name in states]
    assert check.outcome(lakes[0].job.tables) == check.outcome(lakes[1].job.tables)
    tables = lakes[0].job.tables
    check.check_counts(tables, copy, reports[0])
    check.check_sha256(tables, copy)
    check.check_bytes(tables, lakes[0].job.store, copy)
    check.check_second_run(tables, copy, lakes[0].ingest)
    check.check_new_files(tables, copy, lakes[0].ingest)
    check.check_overwritten(tables, copy, lakes[0].ingest)
    check.check_renamed(tables, copy, lakes[0].ingest)
