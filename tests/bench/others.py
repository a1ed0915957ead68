"""Part ``others``: requests and memory of one analysis on S3 by the lake, the usual PySpark job and Ray Data."""

from __future__ import annotations

import contextlib
import ctypes
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import psutil
import pyarrow.dataset
import pyarrow.fs

from lake.one_thread import ONE_THREAD
from tests.bench import compute_lake, process
from tests.bench.compute import drop_unreadable
from tests.bench.compute_contest import MEASURED, digest
from tests.bench.compute_recordings import recordings
from tests.bench.packages import installed
from tests.bench.place import Place, new_job
from tests.bench.report import Figure, Section, table
from tests.support.minio import MinioServer
from tests.support.proxy import S3Proxy, Traffic

ANALYSIS = "log_mel"
COUNTS = (600,)
RAY = "2.60.0"
RAY_LOCK = process.REPOSITORY / "requirements-ray.lock"
RAY_VARIABLES = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0", **ONE_THREAD}
"""The first binds Ray's servers to the loopback, on Linux too; ``_node_ip_address`` puts another in its place."""
OURS = {"lake, local": "local", "lake, Spark": "spark"}
INGEST, PLAIN, RAY_DATA = "lake ingest, before", "plain PySpark", "Ray Data"
SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of prctl(2)."""
TEXT = """The log-mel summary of sounds of the corpus that lie on MinIO. The lake has them in its packs (`lake ingest`
put them there before: its row is in no ratio) and runs `lake analyze`; the usual job, `binaryFile` over S3A, a pandas
UDF and Parquet, and Ray Data's, `read_binary_files`, `map_batches` and `write_parquet`, have an object a sound. Each is
a process of its own with two cores, and all must give the same results. Counted are the requests that a proxy before
MinIO passed on while that process ran, those tried again too; a listing is a GET of a bucket. *Peak* is that of the
proportional set sizes (shared pages count once) of the whole process tree, sampled twenty times a second. Times go
through the proxy too and compare nothing. Ray is {ray} with its dashboard and its reports of use off. Medians of
{repeats}."""

Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Cost:
    """What one run asked of the store and held."""

    traffic: Traffic
    peak_bytes: int
    wall_s: float

    @property
    def requests(self) -> int:
        return sum(self.traffic.requests.values())

    @property
    def read_bytes(self) -> int:
        return sum(self.traffic.read(""))


COLUMNS: dict[str, Callable[[Cost], float]] = {
    "requests": lambda cost: cost.requests,
    "GET": lambda cost: cost.traffic.requests["GET"],
    "HEAD": lambda cost: cost.traffic.requests["HEAD"],
    "PUT": lambda cost: cost.traffic.requests["PUT"],
    "POST": lambda cost: cost.traffic.requests["POST"],
    "DELETE": lambda cost: cost.traffic.requests["DELETE"],
    "listings": lambda cost: cost.traffic.listings,
    "MB read": lambda cost: cost.read_bytes / 1e6,
    "MB written": lambda cost: cost.traffic.written_bytes / 1e6,
    "peak, MB": lambda cost: cost.peak_bytes / 1e6,
    "s": lambda cost: cost.wall_s,
}
COMPARED = {"requests": ("requests", 1), "bytes read": ("MB read", None), "peak memory": ("peak, MB", 1)}
"""The column of what is compared, and what ours over theirs is meant to be at most."""


@dataclass(frozen=True)
class Bench:
    """A store whose requests are counted, and what is run on it."""

    server: MinioServer
    proxy: S3Proxy
    ray: Path | None

    def counted(self, *command: str, environ: dict[str, str] | None = None) -> Cost:
        """Run a process; all that it started has ended then."""
        with _ends_all():
            self.proxy.count_anew()
            done = process.run(*command, environ={**self.proxy.environ(), **(environ or {})}, sampled=True)
        return Cost(self.proxy.traffic, done.peak_bytes, done.wall_s)

    def by_lake(self, folder: Path, engine: str) -> tuple[dict[str, Cost], Pairs]:
        """Ingest into a new lake, analyse, and what its tables say then."""
        root = f"s3://{self.server.fresh_bucket()}/lake"
        new_job(root)
        lake = ("jobs.cli", "--root", root)
        ingest = self.counted(*lake, "ingest", str(folder), "--engine", "local", "--json")
        own = ("--module", str(compute_lake.FILE), "--engine", engine, "--json")
        cost = self.counted(*lake, "analyze", ANALYSIS, *own)
        name = next(name for name, each in OURS.items() if each == engine)
        return {INGEST: ingest, name: cost}, compute_lake.results(root, MEASURED[ANALYSIS])

    def by_spark(self, bucket: str) -> tuple[dict[str, Cost], Pairs]:
        with tempfile.TemporaryDirectory() as settings:
            return self._by_job(PLAIN, "tests.bench.others_spark", bucket, settings, {})

    def by_ray(self, bucket: str) -> tuple[dict[str, Cost], Pairs]:
        environ = {"PYTHONPATH": os.pathsep.join([str(process.REPOSITORY), str(self.ray)]), **RAY_VARIABLES}
        # Not in the scratch folder: the names of Ray's sockets would be too long for the kernel.
        with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as session:
            return self._by_job(RAY_DATA, "tests.bench.others_ray", bucket, session, environ)

    def _by_job(
        self, name: str, module: str, bucket: str, folder: str, environ: dict[str, str]
    ) -> tuple[dict[str, Cost], Pairs]:
        out = f"{self.server.fresh_bucket()}/out"
        cost = self.counted(module, ANALYSIS, f"{bucket}/sounds", out, folder, environ=environ)
        endpoint = urlsplit(self.server.endpoint_url)
        keys = {"access_key": self.server.access_key, "secret_key": self.server.secret_key}
        store = pyarrow.fs.S3FileSystem(endpoint_override=endpoint.netloc, scheme=endpoint.scheme, **keys)
        rows = pyarrow.dataset.dataset(out, filesystem=store, format="parquet").to_table().to_pylist()
        return {name: cost}, [(row["sha256"], row["text"]) for row in rows if row["sha256"]]


@contextlib.contextmanager
def _ends_all() -> Iterator[None]:
    """Whatever was started in the block is ended with it, by its id; Ray renames its processes and may leave some."""
    here = psutil.Process()
    before = here.children(recursive=True)
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        left = [each for each in here.children(recursive=True) if each not in before]
        for each in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(left, timeout=60)
        ctypes.CDLL(None).prctl(SUBREAPER, 0, 0, 0, 0)


def measure(place: Place) -> Section:
    section = Section("others", "Requests and memory beside others", TEXT.format(repeats=place.repeats, ray=RAY))
    ray = installed("ray", RAY, "--require-hashes", "-r", str(RAY_LOCK))
    rows: list[tuple[Any, ...]] = []
    with (
        MinioServer(place.scratch / "others-minio") as server,
        S3Proxy(server) as proxy,
        patch.dict(os.environ, server.environ()),
    ):
        for count in place.sounds or COUNTS:
            records, costs = _held(place, Bench(server, proxy, ray), count)
            rows += [
                (records, name, *(round(_median(each, column), 1) for column in COLUMNS))
                for name, each in costs.items()
            ]
            section.figures += _figures(records, costs)
    section.tables.append(table(("sounds", "contender", *COLUMNS), rows))
    return section


def _held(place: Place, bench: Bench, count: int) -> tuple[int, dict[str, list[Cost]]]:
    """How many sounds were analysed, and the costs of each contender's runs."""
    folder = recordings(place, "audio", count)
    root = f"s3://{bench.server.fresh_bucket()}/lake"
    new_job(root)
    process.run("jobs.cli", "--root", root, "ingest", str(folder), "--engine", "local", "--json")
    drop_unreadable(root, folder)
    bucket = bench.server.fresh_bucket()
    for path in sorted(folder.iterdir()):
        bench.server.client.fput_object(bucket, f"sounds/{path.name}", str(path))
    contenders = [
        lambda: bench.by_lake(folder, "local"),
        lambda: bench.by_lake(folder, "spark"),
        lambda: bench.by_spark(bucket),
    ]
    if bench.ray:
        contenders.append(lambda: bench.by_ray(bucket))
    found: dict[str, list[Cost]] = defaultdict(list)
    results: set[tuple[int, str]] = set()
    for _ in range(place.repeats):
        for contender in contenders:
            costs, pairs = contender()
            results.add((len(pairs), digest(pairs)))
            assert len(results) == 1, f"{ANALYSIS} of {count}: other results by {list(costs)}: {results}"
            for name, cost in costs.items():
                found[name].append(cost)
    return results.pop()[0], found


def _figures(records: int, costs: dict[str, list[Cost]]) -> list[Figure]:
    figures = []
    for ours in OURS:
        for theirs in (name for name in (PLAIN, RAY_DATA) if name in costs):
            for what, (column, at_most) in COMPARED.items():
                ratio = _median(costs[ours], column) / _median(costs[theirs], column)
                figures.append(Figure(f"{records:,} sounds, {ours}: {what} over {theirs}'s", ratio, at_most=at_most))
    return figures


def _median(costs: list[Cost], column: str) -> float:
    return median(map(COLUMNS[column], costs))
