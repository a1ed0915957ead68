"""Part ``latency``: a scan of packs on a real MinIO, with and without 50 ms added to every request."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from lake.model import BlobRef
from lake.store.objects import ObjectStore, open_store
from lake.store.reader import MAX_REQUEST_BYTES, scan
from lake.store.writer import PackWriter
from tests.bench.place import SEED, Place
from tests.bench.report import Figure, Section, table
from tests.support.minio import MinioServer
from tests.support.proxy import S3Proxy, Traffic

BLOBS, MEAN_BYTES = 26_000, 31_000
DELAYS_S = (0.0, 0.05, 0.5)
TEXT = f"""{BLOBS:,} blobs of mean {MEAN_BYTES // 1000} KB in full packs on MinIO; all of them are read and verified by
`scan`, in turn without a delay and with one before every request, through the same proxy. Medians of {{repeats}} turns
after one that is not counted. Between the turns nothing changes but the delay, so the shares are those of one run."""


def measure(place: Place) -> Section:
    with MinioServer(place.scratch / "latency-minio") as server, S3Proxy(server) as proxy:
        settings = server.settings.model_copy(update={"endpoint_url": proxy.endpoint_url})
        store = open_store(f"s3://{server.fresh_bucket()}", settings)
        refs = _packed(store, place.scratch)
        seconds: dict[float, list[float]] = {delay_s: [] for delay_s in DELAYS_S}
        _scanned(store, refs, proxy, 0.0)
        for _ in range(place.repeats):
            for delay_s in DELAYS_S:
                seconds[delay_s].append(_scanned(store, refs, proxy, delay_s))
        return _section(place.repeats, refs, {d: median(each) for d, each in seconds.items()}, proxy.traffic)


def _packed(store: ObjectStore, scratch: Path) -> list[BlobRef]:
    chance = random.Random(SEED)
    writer = PackWriter(store, scratch)
    refs = []
    for _ in range(BLOBS):
        data = chance.randbytes(chance.randrange(1, 2 * MEAN_BYTES))
        refs.append(writer.add(hashlib.sha256(data).hexdigest(), data, "application/octet-stream", "cam-01"))
    writer.close()
    return refs


def _scanned(store: ObjectStore, refs: Sequence[BlobRef], proxy: S3Proxy, delay_s: float) -> float:
    """Seconds of one scan; the proxy has counted its requests and no others."""
    proxy.count_anew()
    proxy.delay_s = delay_s
    started = time.perf_counter()
    read = sum(isinstance(data, bytes) for _, data in scan(store, refs))
    seconds = time.perf_counter() - started
    assert read == len(refs), "a blob was not what was written"
    return seconds


def _section(repeats: int, refs: Sequence[BlobRef], seconds: dict[float, float], traffic: Traffic) -> Section:
    payload_bytes = sum(ref.length for ref in refs)
    packs = len({ref.pack_uri for ref in refs})
    fast_s = seconds[DELAYS_S[0]]
    figures = [
        Figure("rate with 50 ms a request over the rate without", fast_s / seconds[0.05], at_least=0.85),
        Figure("rate with 500 ms a request over the rate without", fast_s / seconds[0.5]),
        Figure("bytes read over the payload", sum(traffic.read("")) / payload_bytes, at_most=1.02),
        Figure(
            "GETs of a scan",
            traffic.requests["GET"],
            at_most=payload_bytes // MAX_REQUEST_BYTES + packs,
        ),
    ]
    rows = [(f"{1000 * delay_s:g} ms", each, payload_bytes / each / 1e6) for delay_s, each in seconds.items()]
    text = f"{TEXT.format(repeats=repeats)} The goal for the GETs is one for 16 MiB and one for the rest of each pack."
    return Section("latency", "A store that is far away", text, figures, [table(("added", "s", "MB/s"), rows)])
