"""What an executor does with a task of arrivals: read, hash, say what it is, pack, probe, upload.

The bytes stay here and in the store; what goes back to the driver is one row a recording.
"""

from __future__ import annotations

import functools
import hashlib
import pickle
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from connectors.base import Connector
from lake.errors import Damaged, IntegrityError, RecordError, Unreadable
from lake.ingest.landing import Landing, columns
from lake.ingest.plan import IngestTask
from lake.media.limits import Limits
from lake.media.probe_table import CONTAINERS
from lake.media.sandbox import Call, Outcome, Sandbox
from lake.media.sniff import claimed_but_absent, sniff
from lake.memory import peak_resident_bytes
from lake.model import Device, Failure, Technical
from lake.store.objects import ObjectStore
from lake.store.staging import spool
from lake.store.writer import PackWriter

CHUNK_BYTES = 4 * 1024 * 1024
HEAD_BYTES = 64 * 1024


@dataclass(frozen=True)
class IngestContext:
    """What every task of a run shares; goes to the executors with the task function, so all of it pickles."""

    connector: Connector
    store: ObjectStore
    devices: Mapping[str, Device]
    limits: Limits
    max_blob_bytes: int
    pack_target_bytes: int
    staging_dir: str | None
    """Where packs are spooled; None is the store's own staging folder or the system's temporary one."""


def run_ingest_task(context: IngestContext, payload: bytes) -> Iterator[bytes]:
    """Land the arrivals of one task. Runs on the executor, once a task.

    Yields, pickled, the columns of its landings and the peak of memory (bytes) of this process and its child so far.

    The refs it returns point into packs that are uploaded and verified: it yields only after the writer is closed.
    """
    task: IngestTask = pickle.loads(payload)  # noqa: S301  (made by the driver of this run)
    with spool(context.staging_dir) as scratch:
        writer = PackWriter(
            context.store,
            scratch,
            target_bytes=context.pack_target_bytes,
            max_blob_bytes=context.max_blob_bytes,
        )
        landings = _Task(context, writer, scratch, task).run()
        writer.close()
    peaks = [peak_resident_bytes(), _sandbox(context.limits).peak_memory_bytes]
    peak_memory_bytes = max((peak for peak in peaks if peak is not None), default=None)
    yield pickle.dumps((columns(landings, context.devices), peak_memory_bytes))


@functools.cache
def _sandbox(limits: Limits) -> Sandbox:
    """The decoding child of this worker process, kept over tasks: its start costs more than a task of small files."""
    return Sandbox(limits)


class _Task:
    def __init__(self, context: IngestContext, writer: PackWriter, scratch: Path, task: IngestTask) -> None:
        self.context = context
        self.writer = writer
        self.scratch = scratch
        self.arrivals = task.arrivals
        self.stored = set(task.stored)
        self.known = task.known
        self.spooled: dict[str, Path] = {}
        self.limits = context.limits.model_dump()

    def run(self) -> list[Landing]:
        landings = [Landing(arrival) for arrival in self.arrivals]
        for outcome in _sandbox(self.context.limits).map(self._probes(landings)):
            self._probed(landings[int(outcome.id)], outcome)
        return landings

    def _probes(self, landings: list[Landing]) -> Iterator[Call]:
        """Read and store one recording after the other, and ask the child about each while the next is read."""
        for number, landing in enumerate(landings):
            started = time.perf_counter()
            try:
                call = self._land(str(number), landing)
            except RecordError as error:
                landing.failure = Failure(type(error).__name__, str(error))
                call = None
            landing.seconds = time.perf_counter() - started
            if call is None:
                self._drop(str(number))
            else:
                yield call

    def _land(self, call_id: str, landing: Landing) -> Call | None:
        arrival = landing.arrival
        if arrival.problem:
            raise Unreadable(arrival.problem)
        try:
            with self.context.connector.open(arrival) as stream:
                data = self._head(stream, arrival.size_bytes)
                path = self._spool(call_id, data, stream) if len(data) >= self.context.max_blob_bytes else None
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror or error}") from error
        except IntegrityError as error:
            raise Unreadable(str(error)) from error
        if path is None:
            self._store_small(landing, data)
        else:
            self._store_large(landing, data, path)
        self._verify(landing)
        sniffed = landing.sniffed
        absent = claimed_but_absent(arrival.key, sniffed) if sniffed else None
        if absent:
            raise Damaged(absent)
        if sniffed is None or (sniffed.media_kind == "other" and landing.size_bytes):
            return None
        if sniffed.content_type in CONTAINERS:
            # Text says nothing about itself: no byte of it is parsed, so the child is not asked.
            landing.technical = Technical(container=CONTAINERS[sniffed.content_type])
            return None
        args = {
            "content_type": sniffed.content_type,
            "media_kind": sniffed.media_kind,
            "size_bytes": landing.size_bytes,
            "data": data if path is None else None,
            "path": str(path) if path else None,
            "limits": self.limits,
        }
        return Call(call_id, "probe", args)

    def _store_small(self, landing: Landing, data: bytes) -> None:
        landing.sha256, landing.size_bytes = hashlib.sha256(data).hexdigest(), len(data)
        landing.sniffed = sniff(data[:HEAD_BYTES], size_bytes=len(data), name=landing.arrival.key, data=data)
        if self._is_new(landing.sha256):
            landing.blob = self.writer.add(
                landing.sha256, data, landing.sniffed.content_type, landing.arrival.device_id
            )

    def _store_large(self, landing: Landing, head: bytes, path: Path) -> None:
        with path.open("rb") as spooled:
            landing.sha256 = hashlib.file_digest(spooled, "sha256").hexdigest()
        landing.size_bytes = path.stat().st_size
        landing.sniffed = sniff(head[:HEAD_BYTES], size_bytes=landing.size_bytes, name=landing.arrival.key, path=path)
        if self._is_new(landing.sha256):
            landing.blob = self.writer.add_large(
                landing.sha256, path, landing.sniffed.content_type, landing.arrival.device_id
            )

    def _is_new(self, sha256: str) -> bool:
        """Whether a content is to be stored. What only seems to be stored the driver has landed again."""
        if sha256 in self.stored or self.known.may_have(sha256, self.context.store):
            return False
        self.stored.add(sha256)
        return True

    def _head(self, stream: BinaryIO, size_bytes: int) -> bytes:
        """The content, of a large recording its head; takes no more memory than the listed size unless it grew."""
        most = self.context.max_blob_bytes
        data = stream.read(min(most, size_bytes + 1))
        return data if len(data) <= size_bytes else data + stream.read(most - len(data))

    def _spool(self, call_id: str, head: bytes, stream: BinaryIO) -> Path:
        """Copy a large recording to a local file, a chunk at a time: hashed, stored and probed from there."""
        path = self.spooled[call_id] = self.scratch / f"large-{call_id}"
        with path.open("wb") as spooled:
            spooled.write(head)
            while chunk := stream.read(CHUNK_BYTES):
                spooled.write(chunk)
        return path

    def _drop(self, call_id: str) -> None:
        """Remove the local copy of a large recording, which is stored by now."""
        path = self.spooled.pop(call_id, None)
        if path is not None:
            path.unlink(missing_ok=True)

    def _verify(self, landing: Landing) -> None:
        """A recording that changed under the read keeps its bytes and its row, and is told."""
        try:
            self.context.connector.verify(landing.arrival, landing.size_bytes or 0)
        except RecordError as error:
            landing.failure = Failure(type(error).__name__, str(error))

    def _probed(self, landing: Landing, outcome: Outcome) -> None:
        landing.seconds += outcome.seconds
        if outcome.failure is not None:
            landing.failure = landing.failure or outcome.failure
        elif outcome.value is not None:
            try:
                landing.technical = Technical.from_plain(outcome.value)
            except (TypeError, ValueError) as error:
                landing.failure = landing.failure or Failure("Damaged", f"its header is not believed: {error}")
        self._drop(outcome.id)
