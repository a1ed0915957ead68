"""What all contenders of the part ``compute`` share: one recording analysed, and a checksum over all results."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from lake.analysis.base import Analysis
from lake.analysis.document_text import DOCUMENT_TEXT
from lake.errors import RecordError
from lake.media.sniff import sniff
from lake.model import Media
from lake.schema import PROVENANCE
from tests.bench.measured_analyses import FRAME_HASH, LOG_MEL

MEASURED: dict[str, Analysis] = {each.name: each for each in (LOG_MEL, DOCUMENT_TEXT, FRAME_HASH)}
FAILED = "failed"


def result_schema(analysis: Analysis) -> pa.Schema:
    """The columns of results alone."""
    return pa.schema(list(analysis.schema)[len(PROVENANCE) :])


def result_text(analysis: Analysis, rows: list[dict[str, Any]]) -> str:
    """Results of one recording as text, as they are after a way through Arrow."""
    found = pa.Table.from_pylist(rows, schema=result_schema(analysis)).to_pylist()
    return repr(sorted(map(repr, found)))


def analysed(name: str, path: str, data: bytes) -> tuple[str, str] | None:
    """The sha256 of a recording and its results as text; None where the analysis does not apply."""
    sniffed = sniff(data[:65536], size_bytes=len(data), name=path, data=data)
    analysis = MEASURED[name]
    if not analysis.applies_to(sniffed.media_kind, sniffed.content_type):
        return None
    sha256 = hashlib.sha256(data).hexdigest()
    media = Media(sha256, sniffed.content_type, sniffed.media_kind, data=data)
    try:
        return sha256, result_text(analysis, list(analysis.run(media, analysis.params)))
    except RecordError:
        return sha256, FAILED


def analysed_path(name: str, path: str) -> tuple[str, str] | None:
    """The same, read from a file."""
    return analysed(name, path, Path(path).read_bytes())


def tell(results: Sequence[tuple[str, str]], done_s: float) -> None:
    """Print {records, digest, looking_s} of a contender; its work was done at ``done_s`` of the performance counter."""
    document = {"records": len(results), "digest": digest(results)}
    print(json.dumps({**document, "looking_s": time.perf_counter() - done_s}))


def digest(results: Iterable[tuple[str, str]]) -> str:
    """One checksum over results of distinct contents, in any order."""
    return hashlib.sha256("\n".join(sorted(f"{sha256} {text}" for sha256, text in results)).encode()).hexdigest()
