"""Ways to keep the same recordings in a bucket, those of others and ours: each writes all and reads all back."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from jobs.cli import Invocation
from jobs.context import open_job
from lake.model import BlobRef
from lake.settings import S3Settings
from lake.store.index import read_index
from lake.store.objects import ObjectStore, open_store
from lake.store.reader import scan
from lake.store.writer import PackWriter
from tests.bench.place import ingest

SHARD_BYTES = 128 * 1024**2
"""Of a tar or a Parquet file: what a pack has."""
ROW_GROUP_ROWS = 512
AT_ONCE = 16
"""Requests of one object each."""


@dataclass(frozen=True)
class Shelf:
    """A bucket that one way has for itself, and how it is reached."""

    root: str
    endpoint_url: str
    s3: S3Settings
    scratch: Path

    @property
    def store(self) -> ObjectStore:
        return open_store(self.root, self.s3.model_copy(update={"endpoint_url": self.endpoint_url}))

    def arrow(self) -> tuple[pafs.FileSystem, str]:
        """The bucket as Arrow sees it, and its name there."""
        filesystem = pafs.S3FileSystem(
            access_key=self.s3.access_key_id,
            secret_key=self.s3.secret,
            endpoint_override=urlsplit(self.endpoint_url).netloc,
            scheme="http",
            region="us-east-1",
        )
        return filesystem, self.root.removeprefix("s3://")


class Way(NamedTuple):
    """How recordings are written, and how all their contents are read back."""

    write: Callable[[Shelf, Sequence[Path]], None]
    read: Callable[[Shelf], Iterator[bytes]]


def write_objects(shelf: Shelf, files: Sequence[Path]) -> None:
    store = shelf.store
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda path: store.put(f"recordings/{path.name}", path.read_bytes()), files))


def write_objects_in_turn(shelf: Shelf, files: Sequence[Path]) -> None:
    store = shelf.store
    for path in files:
        store.put(f"recordings/{path.name}", path.read_bytes())


def read_objects(shelf: Shelf) -> Iterator[bytes]:
    store = shelf.store
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(store.get, [entry.key for entry in store.list("recordings")])


def read_objects_in_turn(shelf: Shelf) -> Iterator[bytes]:
    store = shelf.store
    for entry in list(store.list("recordings")):
        yield store.get(entry.key)


def write_tars(shelf: Shelf, files: Sequence[Path]) -> None:
    for number, shard in enumerate(_shards(files)):
        path = shelf.scratch / f"{number:05}.tar"
        with tarfile.open(path, "w") as out:
            for each in shard:
                out.add(each, each.name)
        shelf.store.put(f"shards/{path.name}", path)
        path.unlink()


def read_tars(shelf: Shelf) -> Iterator[bytes]:
    store = shelf.store
    for entry in list(store.list("shards")):
        with tarfile.open(fileobj=io.BytesIO(store.get(entry.key)), mode="r|") as shard:
            for member in shard:
                content = shard.extractfile(member)
                assert content is not None
                yield content.read()


def write_parquet(shelf: Shelf, files: Sequence[Path]) -> None:
    for number, shard in enumerate(_shards(files)):
        path = shelf.scratch / f"{number:05}.parquet"
        contents = pa.array([each.read_bytes() for each in shard], pa.binary())
        rows = pa.table({"name": [each.name for each in shard], "content": contents})
        pq.write_table(rows, path, row_group_size=ROW_GROUP_ROWS)
        shelf.store.put(f"shards/{path.name}", path)
        path.unlink()


def read_parquet(shelf: Shelf) -> Iterator[bytes]:
    filesystem, bucket = shelf.arrow()
    for entry in filesystem.get_file_info(pafs.FileSelector(f"{bucket}/shards")):
        with filesystem.open_input_file(entry.path) as source:
            for batch in pq.ParquetFile(source, pre_buffer=True).iter_batches(ROW_GROUP_ROWS, columns=["content"]):
                for content in batch.column(0):
                    yield content.as_py()


def write_packs(shelf: Shelf, files: Sequence[Path]) -> None:
    writer = PackWriter(shelf.store, shelf.scratch)
    for path in files:
        data = path.read_bytes()
        writer.add(hashlib.sha256(data).hexdigest(), data, "application/octet-stream")
    writer.close()


def read_packs(shelf: Shelf) -> Iterator[bytes]:
    store = shelf.store
    yield from _scanned(store, [ref for each in read_index(store) for ref, _ in each.blobs])


def write_lake(shelf: Shelf, files: Sequence[Path]) -> None:
    """``lake ingest`` as a process of its own, its start in; the lake is there already."""
    ingest(shelf.root, files[0].parent, environ={"AWS_ENDPOINT_URL": shelf.endpoint_url})


def read_lake(shelf: Shelf) -> Iterator[bytes]:
    job = open_job(Invocation(root=shelf.root, json=True))
    rows = job.tables.dataset("blobs").to_table(columns=list(BlobRef.__dataclass_fields__)).to_pylist()
    yield from _scanned(shelf.store, [BlobRef(**row) for row in rows])


def _scanned(store: ObjectStore, refs: Sequence[BlobRef]) -> Iterator[bytes]:
    for ref, data in scan(store, refs):
        assert isinstance(data, bytes), f"{ref.sha256} is not what was written"
        yield data


def _shards(files: Sequence[Path]) -> Iterator[list[Path]]:
    shard: list[Path] = []
    size_bytes = 0
    for path in files:
        shard.append(path)
        size_bytes += path.stat().st_size
        if size_bytes >= SHARD_BYTES:
            yield shard
            shard, size_bytes = [], 0
    if shard:
        yield shard


IN_TURN = "one object each, in turn"
OBJECTS = f"one object each, {AT_ONCE} at once"
PACKS = "packs alone"
LAKE = "the lake: packs and all tables"
WAYS: dict[str, Way] = {
    IN_TURN: Way(write_objects_in_turn, read_objects_in_turn),
    OBJECTS: Way(write_objects, read_objects),
    "tar shards": Way(write_tars, read_tars),
    "Parquet, a binary column": Way(write_parquet, read_parquet),
    PACKS: Way(write_packs, read_packs),
    LAKE: Way(write_lake, read_lake),
}
