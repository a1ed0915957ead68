"""Part ``recompress``: what lossless compression saves on the real corpus, and what it and reading cost."""

from __future__ import annotations

import shutil
import time
from typing import Any

from jobs.cli import Invocation
from jobs.context import Job, open_job
from lake.errors import IntegrityError
from lake.store.blobs import asking, stored_blobs
from lake.store.reader import scan
from tests.bench import process
from tests.bench.place import Place
from tests.bench.report import Figure, Section, table

TEXT = """`lake store compact --recompress` on the whole corpus, whose packs were made by one ingest: WAV becomes
FLAC, what else pays becomes Zstandard, texts with a dictionary of their pack; see
[decision 0013](decisions/0013-compression.md). Bytes are payload, dictionaries counted in the last line. Reading is a
scan of all blobs by one process, verified, before and after."""
SHOWN = 14
SAVED = """
    SELECT content_type, count(*), sum(size_bytes), sum(length), round(100 * (1 - sum(length) / sum(size_bytes)), 1),
        string_agg(DISTINCT codec, ', ' ORDER BY codec)
    FROM (SELECT DISTINCT ON (sha256) * FROM blobs) GROUP BY 1 ORDER BY sum(size_bytes) - sum(length) DESC
"""


def measure(place: Place) -> Section:
    section = Section("recompress", "Lossless compression", TEXT)
    root = str(place.scratch / "recompressed")
    shutil.copytree(place.lake.settings.root, root)
    job = open_job(Invocation(root=root, json=True))
    read_before = _read_bytes_a_second(job)
    done = process.run("jobs.cli", "--root", root, "store", "compact", "--recompress", "--json", sampled=True)
    read_after = _read_bytes_a_second(job)
    with asking(blobs=job.tables.dataset("blobs")) as db:
        rows = db.execute(SAVED).fetchall()
    total = [sum(row[at] for row in rows) for at in (1, 2, 3)]
    stat = process.run("jobs.cli", "--root", root, "store", "stat", "--json").document
    section.tables.append(table(("content", "objects", "bytes", "stored", "saved, %", "codec"), _shown(rows)))
    section.figures = [
        Figure("saved of all payload, %", 100 * (1 - stat["pack_bytes"] / (total[1] + stat["framing_bytes"]))),
        Figure("saved of what was compressed, %", 100 * _saved(row for row in rows if row[5] != "stored")),
        Figure("compressed, decoded and compared, MB a second", total[1] / 1e6 / done.wall_s),
        Figure("peak memory, MB", done.peak_bytes / 1e6),
        Figure("rate of a verified scan, after over before", read_after / read_before),
    ]
    shutil.rmtree(root)
    return section


def _shown(rows: list[Any]) -> list[Any]:
    rest = rows[SHOWN:]
    size, length = sum(row[2] for row in rest), sum(row[3] for row in rest)
    share = round(100 * (1 - length / size), 1)
    return [*rows[:SHOWN], ("all others", sum(row[1] for row in rest), size, length, share, "")]


def _saved(rows: Any) -> float:
    pairs = [(row[2], row[3]) for row in rows]
    return 1 - sum(length for _, length in pairs) / sum(size for size, _ in pairs)


def _read_bytes_a_second(job: Job) -> float:
    blobs = job.tables.dataset("blobs")
    contents = blobs.to_table(columns=["sha256"]).column(0).to_pylist()
    refs = [blob.ref for blob in stored_blobs(blobs, contents).values()]
    started, size_bytes = time.perf_counter(), 0
    for ref, data in scan(job.store, refs):
        if isinstance(data, IntegrityError):
            raise AssertionError(f"{ref.sha256}: {data}")
        size_bytes += len(data)
    return size_bytes / (time.perf_counter() - started)
