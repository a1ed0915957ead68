"""What so and so many recordings will take: packs, write requests, index, hours. Pure; no lake is needed.

The figures below were measured; docs/scale.md holds them against an ingest of 12,000 recordings, ten times as many as
requests and bytes a row were taken from. Bytes and requests hold anywhere, hours for a machine of two cores.
"""

from __future__ import annotations

from dataclasses import dataclass

from lake.ingest.plan import PER_RECORD_BYTES, task_count
from lake.store.pack import MAX_BLOBS
from lake.tables import MERGE_EVERY_COMMITS

MIB = 1024**2
FRAME_BYTES = 115
"""What a blob takes in a pack beside its payload, header and share of the footer: docs/bench.md, density."""
ROW_BYTES = {"blobs": 75, "assets": 115, "arrivals": 99}
"""Bytes a recording takes in the data files of the tables that each wave appends to. At ten million, sorted, they are
6 % more (docs/scale.md)."""
LOG_ENTRY_BYTES = 2_000
RUN_REQUESTS = 8
"""Of a run, however long: its rows in ``runs`` and ``run_stages``, its lock and its lease."""
CHECKPOINT_EVERY_COMMITS = 10
PART_BYTES = 5 * MIB
"""What is larger is uploaded in such parts."""

START_S = 1.0
RECORD_S = 3.65e-4
BYTE_S = 4e-10
"""Seconds of an ingest on two cores: for its start, for each recording, for each byte of them (docs/bench.md, speed:
2,000 and 12,000 files of the corpus). Another machine is as much slower as its bare loop there: two cores of the day
before took twice as long."""


@dataclass(frozen=True)
class Shape:
    """The settings that decide how recordings are cut, as ``lake.settings`` has them."""

    wave_max_arrivals: int = 2048
    wave_max_bytes: int = 1024**3
    pack_target_bytes: int = 128 * MIB
    max_blob_bytes: int = 8 * MIB
    slots: int = 2
    """Tasks that run at once."""


@dataclass(frozen=True)
class Prediction:
    """What an ingest of everything in one run takes; the fixed fields of ``lake store plan --json``."""

    objects: int
    mean_bytes: int
    payload_bytes: int
    waves: int
    packs_landed: int
    """Packs that the ingest writes."""
    packs: int
    """Packs that ``lake maintain`` makes of them."""
    pack_bytes: int
    large_blobs: int
    write_requests: int
    """PUT and POST requests to a bucket, the parts of large uploads each."""
    index_bytes: int
    """Data files of ``blobs``, ``assets`` and ``arrivals`` as landed; ``lake maintain`` leaves about as many."""
    log_bytes: int
    hours: float


def predict(objects: int, mean_bytes: int, shape: Shape | None = None) -> Prediction:
    """Predict what recordings of about one size take. From ``max_blob_bytes`` on each is an object of its own."""
    shape = shape or Shape()
    payload = objects * mean_bytes
    each = max(1, min(shape.wave_max_arrivals, shape.wave_max_bytes // max(1, mean_bytes)))
    waves = -(-objects // each)
    large = objects if mean_bytes >= shape.max_blob_bytes else 0
    landed = 0 if large else _packs_landed(objects, mean_bytes, each, shape)
    pack_bytes = 0 if large else payload + objects * FRAME_BYTES
    uploads = landed * _requests(pack_bytes // max(1, landed))
    uploads += large * (1 + _requests(mean_bytes))
    commits = len(ROW_BYTES) * waves
    upkeep = commits // MERGE_EVERY_COMMITS + commits // CHECKPOINT_EVERY_COMMITS
    return Prediction(
        objects=objects,
        mean_bytes=mean_bytes,
        payload_bytes=payload,
        waves=waves,
        packs_landed=landed,
        packs=_packs_kept(landed, pack_bytes, shape),
        pack_bytes=pack_bytes,
        large_blobs=large,
        write_requests=RUN_REQUESTS + 2 * (commits + upkeep) + uploads,
        index_bytes=objects * sum(ROW_BYTES.values()),
        log_bytes=commits * LOG_ENTRY_BYTES,
        hours=round((START_S + objects * RECORD_S + payload * BYTE_S) / 3600, 6),
    )


def _packs_landed(objects: int, mean_bytes: int, each: int, shape: Shape) -> int:
    """A pack a task, as waves of ``each`` recordings are cut into tasks; more where one is full."""
    full, left = divmod(objects, each)
    return full * _packs_of_wave(each, mean_bytes, shape) + (_packs_of_wave(left, mean_bytes, shape) if left else 0)


def _packs_of_wave(arrivals: int, mean_bytes: int, shape: Shape) -> int:
    tasks = task_count(arrivals, arrivals * (mean_bytes + PER_RECORD_BYTES), shape.slots, shape.pack_target_bytes)
    return tasks * max(1, -(-arrivals // (tasks * MAX_BLOBS)))


def _packs_kept(landed: int, pack_bytes: int, shape: Shape) -> int:
    """Packs below half the target are merged into full ones; larger ones stay as they are."""
    if landed < 2 or pack_bytes / landed >= shape.pack_target_bytes / 2:
        return landed
    return -(-pack_bytes // shape.pack_target_bytes)


def _requests(size_bytes: int) -> int:
    """Of one upload: one, or its parts with one to begin and one to end them."""
    return 1 if size_bytes <= PART_BYTES else -(-size_bytes // PART_BYTES) + 2
