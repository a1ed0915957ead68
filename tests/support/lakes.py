"""A lake for tests: the verbs called as the command calls them, the tables read back without them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs.analyze import analyze_all
from jobs.cli import Invocation
from jobs.context import Engines, Job, open_job
from jobs.erase import erase_recordings, preview_erasure
from jobs.ingest import ingest_source, make_plan
from jobs.upkeep import collect_garbage, compact_store, rebuild_index, scrub_store
from lake.catalog.create import create_lake
from lake.catalog.read import open_recording
from lake.catalog.selection import chosen_contents
from lake.engine import Engine
from tests.support.minio import MinioServer

ROOT = Path(__file__).parents[2]


class OneEngine(Engines):
    """Engines that give the engine a test has, and leave it open for the next test."""

    def __init__(self, job: Job, engine: Engine) -> None:
        super().__init__(job.settings, engine.name, "test")
        self._engines[engine.name] = engine


@dataclass
class Lake:
    """One lake and the engine it is filled by."""

    job: Job
    engine: Engine

    def ingest(self, source: Path | str, **options: Any) -> dict[str, Any]:
        plan = make_plan(self.job, str(source), None, **options)
        return ingest_source(self.job, Invocation(json=True), plan, OneEngine(self.job, self.engine))

    def analyze(self, *names: str) -> dict[str, Any]:
        return analyze_all(self.job, Invocation(json=True), names, OneEngine(self.job, self.engine))

    def compact(self, **options: Any) -> dict[str, Any]:
        return compact_store(self.job, Invocation(json=True), OneEngine(self.job, self.engine), **options)

    def gc(self, hold_hours: float, **options: Any) -> dict[str, Any]:
        return collect_garbage(self.job, Invocation(json=True), hold_hours, **options)

    def scrub(self, max_age_days: float = 0.0, **options: Any) -> dict[str, Any]:
        engines = OneEngine(self.job, self.engine)
        return scrub_store(self.job, Invocation(json=True), engines, max_age_days, **options)

    def rebuild(self) -> dict[str, Any]:
        return rebuild_index(self.job, Invocation(json=True), OneEngine(self.job, self.engine))

    def erase(self, *recordings: str, query: str | None = None, dry_run: bool = False) -> dict[str, Any]:
        engines = OneEngine(self.job, self.engine)
        chosen = chosen_contents(self.job.tables, recordings, (), query)
        if dry_run:
            return preview_erasure(self.job, Invocation(json=True), engines, chosen)
        return erase_recordings(self.job, Invocation(json=True), engines, chosen, "asked for")

    def rows(self, table: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.job.tables.dataset(table).to_table().to_pylist()
        return rows

    def versions(self) -> dict[str, int]:
        """Delta version of every table but the record of runs."""
        names = [n for n in self.job.tables.names() if n not in ("runs", "run_stages")]
        return {name: self.job.tables.open(name).version() for name in names}

    def read(self, recording: str | dict[str, Any]) -> bytes:
        with open_recording(self.job.tables, self.job.store, recording) as stream:
            return stream.read()


def bucket_lake(server: MinioServer, bucket: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """An empty lake in a bucket, whose keys this process and the commands it starts have in their environment."""
    for name, value in server.environ().items():
        monkeypatch.setenv(name, value)
    return new_lake(f"s3://{bucket}/city", engine)


def command(lake: Lake, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """The ``lake`` command on a lake, as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "jobs.cli", "--root", lake.job.settings.root, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def new_lake(root: str, engine: Engine) -> Lake:
    """An empty lake at a root."""
    job = open_job(Invocation(root=root, json=True), must_exist=False)
    create_lake(job.settings, job.tables, job.store)
    return Lake(job, engine)
