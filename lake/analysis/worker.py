"""What an executor does with a task of contents: fetch by range, decode in the child, write the rows as Parquet.

Results go from here straight into the store as data files of the feature tables; the driver commits them by name, so
neither recordings nor results pass through the JVM or the driver.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pickle
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lake.analysis.base import Analysis
from lake.analysis.measured import Measured, measured
from lake.analysis.models import Node, on_this_machine
from lake.analysis.plan import WorkItem
from lake.analysis.results import Found, Results, Unfit
from lake.analysis.user_module import UserModule
from lake.engine.base import VISIBLE_GPUS
from lake.errors import IntegrityError, ModelError, StoreError
from lake.media.limits import Limits
from lake.media.sandbox import Call, Outcome, Sandbox
from lake.model import AnalysisKey, BlobRef, Failure, Row
from lake.store.objects import ObjectStore
from lake.store.reader import open_blob, scan
from lake.store.staging import spool
from lake.tables import DataFile

CHUNK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class AnalysisContext:
    """What every task of a run shares; pickles."""

    store: ObjectStore
    analyses: dict[str, Analysis]
    keys: dict[str, AnalysisKey]
    folders: dict[str, str]
    """Key of each feature table's folder below the root, by analysis."""
    run_id: str
    limits: Limits
    max_in_memory_bytes: int
    """Larger contents are copied to a local file and decoded from there."""
    staging_dir: str | None
    modules: dict[str, UserModule] = field(default_factory=dict)
    """Files of the analyses that are a user's own, by analysis."""
    node: Node | None = None
    """Where models are kept and computed; None: analyses take the models they come with."""

    def accelerated(self) -> frozenset[str]:
        """Analyses whose models compute on a GPU, or would if there were one."""
        if self.node is None or self.node.device == "cpu":
            return frozenset()
        return frozenset(name for name, analysis in self.analyses.items() if analysis.resolved)


@dataclass
class AnalysisOutput:
    """What a task brings back: data files to commit, failures, counts."""

    files: dict[str, list[DataFile]] = field(default_factory=lambda: defaultdict(list))
    done: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    rows: int = 0
    failures: list[tuple[str, str, Failure]] = field(default_factory=list)
    """(sha256, analysis, why)."""
    bytes: int = 0
    measured: Measured = field(default_factory=Measured)


def run_analysis_task(context: AnalysisContext, payload: bytes) -> Iterator[bytes]:
    """Analyse the contents of one task. Runs on the executor, once a task."""
    items: list[WorkItem] = pickle.loads(payload)  # noqa: S301  (made by the driver of this run)
    needed = [name for item in items for name in item.analyses]
    sandbox = _sandbox(context.limits, os.environ.get(VISIBLE_GPUS, ""))
    loads_then = sandbox.model_loads
    analyses = on_this_machine(context.analyses, needed, context.node, context.store, sandbox)
    context = dataclasses.replace(context, analyses=analyses)
    with spool(context.staging_dir) as scratch:
        task = _Task(context, scratch, {item.ref.sha256: item for item in items})
        output = task.run(sandbox)
        failed = {sha256 for sha256, _, _ in output.failures}
        output.measured = measured(items, task.seconds, failed, sandbox, loads_then)
        yield pickle.dumps(output)


@functools.cache
def _sandbox(limits: Limits, gpus: str) -> Sandbox:
    """The decoding child of this worker process, kept over tasks with the models it has loaded.

    A child sees the ``gpus`` that were there when it started. A worker that is dealt another has another child, and
    the models of both stay loaded: as many as it was dealt GPUs.
    """
    return Sandbox(limits)


class _Task:
    def __init__(self, context: AnalysisContext, scratch: Path, items: dict[str, WorkItem]) -> None:
        self.context = context
        self.scratch = scratch
        self.items = items
        self.output = AnalysisOutput()
        schemas = {name: analysis.schema for name, analysis in context.analyses.items()}
        self.results = Results(context.store, schemas, context.folders)
        self.origins = {name: _origin(key, context.run_id) for name, key in context.keys.items()}
        self.modules = {name: file.to_plain() for name, file in context.modules.items()}
        self.seconds: dict[str, float] = defaultdict(float)
        """Of each recording, all its tries together."""
        self.alone: list[tuple[str, str]] = []
        self.spooled: set[str] = set()
        """Whose content lies in a local file."""

    def run(self, sandbox: Sandbox) -> AnalysisOutput:
        for outcome in sandbox.map(self._calls()):
            self._take(outcome.id, self.items[outcome.id].analyses, outcome)
        # Several analyses shared a call that died: each is tried alone, so that only the guilty one fails.
        for sha256, analysis in self.alone:
            for outcome in sandbox.map(iter([self._single_call(sha256, analysis)])):
                self._take(sha256, (analysis,), outcome)
        self._unfit(self.results.flush())
        self.output.files, self.output.done = dict(self.results.files), dict(self.results.done)
        self.output.rows = self.results.rows
        return self.output

    def _calls(self) -> Iterator[Call]:
        small = [item.ref for item in self.items.values() if item.ref.size_bytes < self.context.max_in_memory_bytes]
        for ref, data in scan(self.context.store, small):
            if isinstance(data, IntegrityError):
                self._failed_all(ref.sha256, Failure("IntegrityError", str(data)))
                continue
            yield self._call(self.items[ref.sha256], self.items[ref.sha256].analyses, data, None)
        for item in self.items.values():
            if item.ref.size_bytes >= self.context.max_in_memory_bytes:
                try:
                    path = self._spool(item.ref)
                except IntegrityError as error:
                    self._failed_all(item.ref.sha256, Failure("IntegrityError", str(error)))
                    continue
                yield self._call(item, item.analyses, None, path)

    def _single_call(self, sha256: str, analysis: str) -> Call:
        item = self.items[sha256]
        if item.ref.size_bytes >= self.context.max_in_memory_bytes:
            return self._call(item, (analysis,), None, self._spool(item.ref))
        _, data = next(iter(scan(self.context.store, [item.ref])))
        if isinstance(data, IntegrityError):
            raise StoreError(str(data))
        return self._call(item, (analysis,), data, None)

    def _call(self, item: WorkItem, analyses: tuple[str, ...], data: bytes | None, path: Path | None) -> Call:
        self.output.bytes += item.ref.size_bytes
        wanted = [self.context.analyses[name] for name in analyses]
        args: dict[str, Any] = {
            "analyses": {analysis.name: dict(analysis.params) for analysis in wanted},
            "modules": {name: self.modules[name] for name in analyses if name in self.modules},
            "sha256": item.ref.sha256,
            "content_type": item.content_type,
            "media_kind": item.media_kind,
            "threads": item.threads,
            "limits_s": {analysis.name: analysis.time_limit_s for analysis in wanted},
            "data": data,
            "path": str(path) if path else None,
        }
        return Call(item.ref.sha256, "analyze", args, time_limit_s=sum(a.time_limit_s for a in wanted))

    def _spool(self, ref: BlobRef) -> Path:
        path = self.scratch / ref.sha256
        if ref.sha256 not in self.spooled:
            with open_blob(self.context.store, ref) as blob, path.open("wb") as spooled:
                while chunk := blob.read(CHUNK_BYTES):
                    spooled.write(chunk)
            self.spooled.add(ref.sha256)
        return path

    def _take(self, sha256: str, analyses: tuple[str, ...], outcome: Outcome) -> None:
        self.seconds[sha256] += outcome.seconds
        if outcome.failure is not None:
            if len(analyses) > 1:
                self.alone += [(sha256, name) for name in analyses]
            else:
                self.output.failures.append((sha256, analyses[0], outcome.failure))
            return
        for name, result in (outcome.value or {}).items():
            if "rows" in result:
                origin = {"sha256": sha256, **self.origins[name]}
                self._unfit(self.results.add(Found(name, origin, result["rows"], outcome.size_bytes)))
            elif result["error_class"] == ModelError.__name__:
                raise ModelError(result["message"])  # no recording's fault
            else:
                self.output.failures.append((sha256, name, Failure(result["error_class"], result["message"])))
        if sha256 in self.spooled and not any(left == sha256 for left, _ in self.alone):
            (self.scratch / sha256).unlink(missing_ok=True)
            self.spooled.remove(sha256)

    def _failed_all(self, sha256: str, failure: Failure) -> None:
        self.output.failures += [(sha256, name, failure) for name in self.items[sha256].analyses]

    def _unfit(self, several: list[Unfit]) -> None:
        for unfit in several:
            failure = Failure("Damaged", f"its result fits no table: {unfit.why:.300}")
            self.output.failures.append((unfit.found.origin["sha256"], unfit.found.analysis, failure))


def _origin(key: AnalysisKey, run_id: str) -> Row:
    """What all rows of a run say of where they come from."""
    return {
        "analysis_version": key.version,
        "params_hash": key.params_hash,
        "model_hash": key.model_hash,
        "run_id": run_id,
    }
