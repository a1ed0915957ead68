"""Part ``corpus``: the whole corpus into both roots and by both engines, with the checks of the tests."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from statistics import median
from unittest.mock import patch

from jobs.context import Job
from tests.bench.place import Place, ingest, new_job
from tests.bench.report import Figure, Section, table
from tests.support import corpus_checks as check
from tests.support.minio import MinioServer

TEXT = """All of the corpus is landed by `lake ingest`; then every checksum is compared with the manifest's, every
blob is read back by range and compared byte for byte, and the same is run again: nothing may land and no file may be
opened (the kernel is asked, by inotify). Then 1 % of new files, one overwritten file and one twin. Any failure ends
the bench."""
STATES = ("arrivals", "landed", "duplicates", "quarantined", "bytes")


def measure(place: Place) -> Section:
    rows, outcomes, reports = [], [], []
    section = Section("corpus", "Corpus: nothing lost, nothing twice", TEXT)
    with MinioServer(place.scratch / "minio") as server, patch.dict(os.environ, server.environ()):
        roots = [
            ("folder, local", str(place.scratch / "corpus-local"), "local"),
            ("folder, Spark", str(place.scratch / "corpus-spark"), "spark"),
            ("MinIO, local", f"s3://{server.fresh_bucket()}/lake", "local"),
        ]
        for name, root, engine in roots:
            row, outcome, figure = _one(place, name, new_job(root), engine)
            rows.append(row)
            outcomes.append(outcome)
            reports.append(row[1:5])
            section.figures.append(figure)
    assert all(report == reports[0] for report in reports), f"the roots differ: {reports}"
    assert all(outcome == outcomes[0] for outcome in outcomes), "the roots hold different rows"
    head = ("root, engine", "arrivals", "landed", "duplicates", "quarantined", "MB read back", "first run, s")
    head = (*head, "again, s", "1 % new, s", "nothing to do, s")
    section.tables.append(table(head, rows))
    return section


def _one(place: Place, name: str, job: Job, engine: str) -> tuple[list[object], object, Figure]:
    root = job.settings.root
    corpus = place.corpus(f"in-{name.replace(', ', '-').lower()}")
    run = functools.partial(_ingest, root, engine)
    nothing_s = _nothing_to_do_s(place, root)
    first = run(corpus.folder)
    check.check_counts(job.tables, corpus, first)
    check.check_sha256(job.tables, corpus)
    read = check.check_bytes(job.tables, job.store, corpus)
    outcome = check.outcome(job.tables)
    again = check.check_second_run(job.tables, corpus, run)
    new = check.check_new_files(job.tables, corpus, run)
    check.check_overwritten(job.tables, corpus, run)
    check.check_renamed(job.tables, corpus, run)
    share = (again["wall_s"] - nothing_s) / (first["wall_s"] - nothing_s)
    times = [first["wall_s"], again["wall_s"], new["wall_s"], nothing_s]
    row = [name, *(first[state] for state in STATES[:4]), round(read / 1e6), *times]
    return row, outcome, Figure(f"second run over first, less the fixed cost ({name})", share, at_most=0.1)


def _ingest(root: str, engine: str, folder: Path) -> check.Report:
    done = ingest(root, folder, engine)
    return {**done.document, "wall_s": done.wall_s}


def _nothing_to_do_s(place: Place, root: str) -> float:
    """The fixed cost: the same command on an empty folder."""
    empty = place.scratch / "empty"
    empty.mkdir(exist_ok=True)
    return median(ingest(root, empty).wall_s for _ in range(place.repeats))
