"""Part ``alternatives``: the same recordings kept as others keep them: bytes on the drives, requests, seconds."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from unittest.mock import patch

from tests.bench.layouts import AT_ONCE, IN_TURN, LAKE, OBJECTS, PACKS, ROW_GROUP_ROWS, WAYS, Shelf
from tests.bench.place import Place, new_job
from tests.bench.recording_sets import EQUAL, OBJECTS_GENERATED, recording_sets
from tests.bench.report import Figure, Section, table
from tests.support.minio import MinioServer
from tests.support.proxy import S3Proxy

TEXT = f"""The same recordings kept in several ways on MinIO: twice {OBJECTS_GENERATED:,} objects of random bytes, of
20 KB each and of mean 31 KB, and the distinct contents of the corpus below 8 MiB. Bytes are what `du` finds on the
drives below the bucket: allocated blocks and, as *apparent*, lengths; of four drives MinIO takes two for parity.
Requests are counted by a proxy in a run of their own; times are taken without it, medians of {{repeats}}. Shards have
the size of a pack, 128 MiB; Parquet is snappy's, a row group has {ROW_GROUP_ROWS} recordings. All contents are read
back; packs and the lake verify two checksums of each. The lake has its tables besides: what each recording is, when it
came and from where; its time to write has the start of processes and a look at every recording in. Parquet compresses
what can be compressed, such as text; packs do not."""


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
    section = Section("alternatives", "Density beside the alternatives", TEXT.format(repeats=place.repeats))
    for name, folder in recording_sets(place).items():
        files = sorted(folder.iterdir())
        payload_bytes = sum(path.stat().st_size for path in files)
        names = [way for way in WAYS if way != IN_TURN or name == EQUAL]
        with patch.dict(os.environ):
            costs = _costs(place, files, names)
        section.tables.append(f"### {name}: {len(files):,} objects, mean {payload_bytes / len(files):,.0f} bytes")
        section.tables.append(_table(costs, len(files), payload_bytes))
        if name == EQUAL:
            section.figures += _goals(costs, len(files))
        shutil.rmtree(folder)
    return section


def _costs(place: Place, files: Sequence[Path], names: Sequence[str]) -> dict[str, Cost]:
    """Every way on one drive, through the proxy and on four drives."""
    costs = {name: Cost() for name in names}
    with _server(place, 1) as server, S3Proxy(server) as proxy:
        for turn in range(place.repeats):
            for name, cost in costs.items():
                shelf = _shelf(server, server.endpoint_url, name, place)
                _timed(name, shelf, files, cost)
                if not turn:
                    cost.allocated_bytes = _du(server, shelf)
                    cost.apparent_bytes = _du(server, shelf, "--apparent-size")
        for name, cost in costs.items():
            shelf = _shelf(server, proxy.endpoint_url, name, place)
            cost.write_requests = _requests(proxy, functools.partial(WAYS[name].write, shelf, files))
            cost.read_requests = _requests(proxy, functools.partial(_read, name, shelf, files))
    with _server(place, 4) as server:
        for name, cost in costs.items():
            shelf = _shelf(server, server.endpoint_url, name, place)
            WAYS[name].write(shelf, files)
            cost.four_drives_bytes = _du(server, shelf)
    return costs


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


def _goals(costs: dict[str, Cost], objects: int) -> list[Figure]:
    packs_s = median(costs[PACKS].write_s)
    in_turn, at_once = (median(costs[name].write_s) / packs_s for name in (IN_TURN, OBJECTS))
    share = 100 * costs[PACKS].write_requests / objects
    return [
        Figure(f"{EQUAL}: packs written faster than one PUT each, in turn, times", in_turn, at_least=10),
        Figure(f"{EQUAL}: packs written faster than one PUT each, {AT_ONCE} at once, times", at_once, at_least=10),
        Figure(f"{EQUAL}: requests to write packs, % of one each", share, at_most=1.0),
    ]
