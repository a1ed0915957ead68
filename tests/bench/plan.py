"""Part ``plan``: what ``lake store plan`` predicts of an ingest, against one ten times as large."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from unittest.mock import patch

from tests.bench import process
from tests.bench.place import Place, ingest
from tests.bench.report import Figure, Section, table
from tests.support.minio import MinioServer
from tests.support.proxy import S3Proxy

FEW, MANY = 1_200, 12_000
WITHIN = 0.25
TABLES = ("blobs", "assets", "arrivals")
TEXT = f"""Files of the corpus, drawn by a seed: {FEW:,} and {MANY:,}. What `lake store plan` goes by stands in
`lake/store/plan.py`: seconds are those of the part `speed` of [bench.md](bench.md), of a machine
whose bare loop does 4,900 files a second; requests and
bytes a row come from ingests of {FEW:,}; here they are held against {MANY:,}. Times are medians of {{repeats}}, of
`lake ingest` into a folder on two cores, and hold only where nothing else runs: see the load average. Requests were
counted by a proxy before MinIO: every PUT, those of parts too, and the two POSTs around parts. Packs are counted after
the ingest and after `lake maintain`."""


@dataclass(frozen=True)
class Measured:
    """One ingest of a folder's files."""

    seconds: float
    packs_landed: int
    packs: int
    write_requests: int
    index_bytes: int


def measure(place: Place) -> Section:
    rows: list[tuple[object, ...]] = []
    figures: list[Figure] = []
    for count in (FEW, MANY):
        folder = place.sample(count)
        sizes = [path.stat().st_size for path in folder.iterdir()]
        mean_bytes = round(sum(sizes) / count)
        found = _measured(place, folder)
        command = ("store", "plan", "--objects", str(count), "--mean-bytes", str(mean_bytes), "--json")
        said = process.run("jobs.cli", *command).document
        told = Measured(
            said["hours"] * 3600,
            *(said[name] for name in ("packs_landed", "packs", "write_requests")),
            said["index_bytes"],
        )
        for name, value in vars(told).items():
            measured = getattr(found, name)
            rows.append((f"{count:,} of {mean_bytes:,} bytes", name, measured, value, f"{value / measured - 1:+.0%}"))
            if count == MANY:
                figures.append(
                    Figure(f"{name} predicted for {MANY:,}, off by", abs(value / measured - 1), at_most=WITHIN)
                )
    head = ("recordings", "figure", "measured", "predicted", "")
    return Section(
        "plan", "What `lake store plan` predicts", TEXT.format(repeats=place.repeats), figures, [table(head, rows)]
    )


def _measured(place: Place, folder: Path) -> Measured:
    seconds = []
    for _ in range(place.repeats):
        job = place.empty_lake("plan")
        seconds.append(ingest(job.settings.root, folder).wall_s)
    landed = len(list(job.store.list("packs")))
    index_bytes = sum(job.tables.size_bytes(name) for name in TABLES)
    process.run("jobs.cli", "--root", job.settings.root, "maintain", "--json")
    stat = process.run("jobs.cli", "--root", job.settings.root, "store", "stat", "--json").document
    return Measured(median(seconds), landed, stat["packs"], _write_requests(place, folder), index_bytes)


def _write_requests(place: Place, folder: Path) -> int:
    with (
        MinioServer(place.scratch / f"minio-{folder.name}") as server,
        S3Proxy(server) as proxy,
        patch.dict(os.environ, proxy.environ()),
    ):
        root = f"s3://{server.fresh_bucket()}/lake"
        process.run("jobs.cli", "--root", root, "init")
        proxy.count_anew(None)
        ingest(root, folder)
        return len(proxy.puts)
