"""Part ``density``: what the lake takes beside the payload, and what others take for the same recordings."""

from __future__ import annotations

import functools
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from tests.bench import process
from tests.bench.layouts import IN_TURN, LAKE, OBJECTS, PACKS, ROW_GROUP_ROWS, WAYS, Shelf, keep_up
from tests.bench.place import PACKED_BYTES, SEED, Place, new_job
from tests.bench.report import Figure, Section, table
from tests.support.corpus import whole
from tests.support.minio import MinioServer
from tests.support.proxy import S3Proxy

OBJECTS_GENERATED = 5_000
EQUAL, DRAWN = "20 KB", "mean 31 KB"
TEXT = f"""The same recordings kept in several ways on MinIO: twice {OBJECTS_GENERATED:,} objects of random bytes, of
20 KB each and of mean 31 KB, and the distinct contents of the corpus below 8 MiB. Bytes are what `du` finds on the
drives below the bucket: allocated blocks and, as *apparent*, lengths; of four drives MinIO takes two for parity.
Requests are counted by a proxy in a run of their own; times are taken without it, medians of {{repeats}}. Shards have
the size of a pack, 128 MiB; Parquet is snappy's, a row group has {ROW_GROUP_ROWS} recordings. All contents are read
back; packs and the lake verify two checksums of each. The lake has its tables besides: what each recording is, when it
came and from where; its time to write has the start of processes and a look at every recording in."""
STAT = """*`lake store stat`* after the corpus was landed once in a folder (no analysis has run), and after
`lake maintain` once its hold of a week is over: until then the merged files lie beside those they were made of."""
TOLD = (
    "blobs",
    "packs",
    "large_blobs",
    "payload_bytes",
    "framing_bytes",
    "table_bytes",
    "overhead_bytes",
    "orphan_bytes",
    "root_bytes",
)


@dataclass
class Cost:
    """What one way cost for one set of recordings."""

    write_s: list[float] = field(default_factory=list)
    read_s: list[float] = field(default_factory=list)
    write_requests: int = 0
    read_requests: int = 0
    allocated_bytes: int = 0
    apparent_bytes: int = 0
    four_drives_bytes: int = 0


def measure(place: Place) -> Section:
    section = Section("density", "Density", f"{TEXT.format(repeats=place.repeats)}\n\n{STAT}")
    _corpus_stat(place, section)
    for name, folder in _sets(place).items():
        files = sorted(folder.iterdir())
        payload_bytes = sum(path.stat().st_size for path in files)
        with patch.dict(os.environ):
            names = [way for way in WAYS if way != IN_TURN or name == EQUAL]
            costs, stat = _costs(place, files, names)
        section.tables.append(f"### {name}: {len(files):,} objects, mean {payload_bytes / len(files):,.0f} bytes")
        section.tables.append(_table(costs, len(files), payload_bytes))
        section.figures += _goals(name, costs, stat, len(files))
        shutil.rmtree(folder)
    return section


def _corpus_stat(place: Place, section: Section) -> None:
    """The root as ``lake store stat`` tells it, before and after an upkeep."""
    root = str(place.scratch / "maintained")
    shutil.copytree(place.lake.settings.root, root)
    before = _stat(root)
    keep_up(root, hold_hours=0)
    after = _stat(root)
    section.tables.append(
        table(("store stat, corpus", "ingested", "maintained"), [(name, before[name], after[name]) for name in TOLD])
    )
    shutil.rmtree(root)
    section.figures += [
        Figure("corpus: overhead of an object, bytes", before["overhead_bytes_per_blob"], at_most=256),
        Figure("corpus: the same, maintained", after["overhead_bytes_per_blob"], at_most=256),
        Figure("corpus: whole root less the payload, an object, bytes", before["root_overhead_bytes_per_blob"]),
        Figure("corpus: the same, maintained", after["root_overhead_bytes_per_blob"], at_most=512),
    ]


def _stat(root: str) -> dict[str, Any]:
    stat = process.run("jobs.cli", "--root", root, "store", "stat", "--json").document
    assert stat["missing_objects"] == 0, stat
    return stat


def _sets(place: Place) -> dict[str, Path]:
    chance = random.Random(SEED)
    equal = [20_000] * OBJECTS_GENERATED
    drawn = [min(PACKED_BYTES - 1, 1 + int(chance.expovariate(1 / 31_000))) for _ in range(OBJECTS_GENERATED)]
    return {
        EQUAL: _generated(place.scratch / "set-20-kb", equal, chance),
        DRAWN: _generated(place.scratch / "set-31-kb", drawn, chance),
        "Corpus": _distinct(place.scratch / "set-corpus"),
    }


def _generated(folder: Path, sizes: Sequence[int], chance: random.Random) -> Path:
    folder.mkdir()
    for number, size_bytes in enumerate(sizes):
        (folder / f"{number:05}.bin").write_bytes(chance.randbytes(size_bytes))
    return folder


def _distinct(folder: Path) -> Path:
    """The corpus's contents below 8 MiB, each once: the others would keep twins twice."""
    folder.mkdir()
    corpus = whole()
    seen: set[str] = set()
    for path, row in corpus.manifest.items():
        source = corpus.folder / os.fsdecode(path)
        if row["sha256"] not in seen and 0 < source.stat().st_size < PACKED_BYTES:
            seen.add(row["sha256"])
            shutil.copyfile(source, folder / f"{len(seen):05}{source.suffix.lower()}")
    return folder


def _costs(place: Place, files: Sequence[Path], names: Sequence[str]) -> tuple[dict[str, Cost], dict[str, Any]]:
    """Every way on one drive, through the proxy and on four drives; and what the lake says of itself, maintained."""
    costs = {name: Cost() for name in names}
    stat: dict[str, Any] = {}
    with _server(place, 1) as server, S3Proxy(server) as proxy:
        for turn in range(place.repeats):
            for name, cost in costs.items():
                shelf = _shelf(server, server.endpoint_url, name, place)
                _timed(name, shelf, files, cost)
                if not turn:
                    cost.allocated_bytes = _du(server, shelf)
                    cost.apparent_bytes = _du(server, shelf, "--apparent-size")
                if name == LAKE and not turn:
                    keep_up(shelf.root, hold_hours=0)
                    stat = _stat(shelf.root)
        for name, cost in costs.items():
            shelf = _shelf(server, proxy.endpoint_url, name, place)
            cost.write_requests = _requests(proxy, functools.partial(WAYS[name].write, shelf, files))
            cost.read_requests = _requests(proxy, functools.partial(_read, name, shelf, files))
    with _server(place, 4) as server:
        for name, cost in costs.items():
            shelf = _shelf(server, server.endpoint_url, name, place)
            WAYS[name].write(shelf, files)
            cost.four_drives_bytes = _du(server, shelf)
    return costs, stat


@contextmanager
def _server(place: Place, drives: int) -> Iterator[MinioServer]:
    folder = place.scratch / f"density-{drives}"
    # Four folders of one disk: MinIO takes them as drives only when told that this is a trial.
    os.environ["MINIO_CI_CD"] = "1"
    with MinioServer(*(folder / f"drive-{number}" for number in range(drives))) as server:
        os.environ.update(server.environ())
        yield server
    shutil.rmtree(folder)


def _shelf(server: MinioServer, endpoint_url: str, name: str, place: Place) -> Shelf:
    """An empty bucket as it is seen at an address, by the commands that are started too. A lake is made without proxy:
    deltalake creates tables without letting other threads of this process run."""
    os.environ["AWS_ENDPOINT_URL"] = server.endpoint_url
    root = f"s3://{server.fresh_bucket()}"
    if name == LAKE:
        new_job(root)
    os.environ["AWS_ENDPOINT_URL"] = endpoint_url
    return Shelf(root, endpoint_url, server.settings, place.scratch)


def _timed(name: str, shelf: Shelf, files: Sequence[Path], cost: Cost) -> None:
    print(f"bench: {len(files):,} files, {name}", file=sys.stderr, flush=True)
    started = time.perf_counter()
    WAYS[name].write(shelf, files)
    cost.write_s.append(time.perf_counter() - started)
    started = time.perf_counter()
    _read(name, shelf, files)
    cost.read_s.append(time.perf_counter() - started)


def _read(name: str, shelf: Shelf, files: Sequence[Path]) -> None:
    lengths = sorted(len(content) for content in WAYS[name].read(shelf))
    assert lengths == sorted(path.stat().st_size for path in files), f"{name}: not all of them came back"


def _requests(proxy: S3Proxy, work: Callable[[], None]) -> int:
    proxy.count_anew()
    work()
    return sum(proxy.traffic.requests.values())


def _du(server: MinioServer, shelf: Shelf, *options: str) -> int:
    """Bytes of a bucket on all drives of a server."""
    folders = [folder / shelf.root.removeprefix("s3://") for folder in server.folders]
    told = subprocess.run(
        ["du", "-s", "--block-size=1", *options, *folders], capture_output=True, text=True, check=True
    )
    return sum(int(line.split()[0]) for line in told.stdout.splitlines())


def _table(costs: dict[str, Cost], objects: int, payload_bytes: int) -> str:
    head = ("way", "requests to write", "to read", "write, s", "read, s", "bytes on the drive", "beside the payload, %")
    head = (*head, "an object, bytes", "apparent, an object", "four drives over payload")
    rows = []
    for name, cost in costs.items():
        beside = cost.allocated_bytes - payload_bytes
        rows.append(
            (
                *(name, cost.write_requests, cost.read_requests, median(cost.write_s), median(cost.read_s)),
                *(cost.allocated_bytes, 100 * beside / payload_bytes, round(beside / objects)),
                *(round((cost.apparent_bytes - payload_bytes) / objects), cost.four_drives_bytes / payload_bytes),
            )
        )
    return table(head, rows)


def _goals(name: str, costs: dict[str, Cost], stat: dict[str, Any], objects: int) -> list[Figure]:
    share = 100 * stat["overhead_bytes"] / stat["payload_bytes"]
    figures = [
        Figure(f"{name}: packs and `blobs`, an object, bytes", stat["overhead_bytes_per_blob"], at_most=256),
        Figure(f"{name}: packs and `blobs`, % of the payload", share, at_most=1.0 if name == DRAWN else None),
        Figure(f"{name}: whole root, maintained, an object, bytes", stat["root_overhead_bytes_per_blob"], at_most=512),
    ]
    if name == EQUAL:
        puts, packs = costs[OBJECTS], costs[PACKS]
        faster = median(puts.write_s) / median(packs.write_s)
        in_turn = median(costs[IN_TURN].write_s) / median(packs.write_s)
        figures += [
            Figure(f"{name}: packs written faster than one PUT each in turn, times", in_turn, at_least=10),
            Figure(f"{name}: packs written faster than one PUT each, several at once, times", faster, at_least=10),
            Figure(f"{name}: requests to write, % of one each", 100 * packs.write_requests / objects, at_most=1.0),
        ]
    return figures
