"""A word that must be nowhere any more: looked for in raw bytes, and in the values of Parquet files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


def traces(word: str, objects: Iterator[tuple[str, bytes]]) -> list[str]:
    """Names of the objects that have a word, in their bytes or in a value of a Parquet file."""
    return [name for name, data in objects if word.encode() in data or word in _values(data)]


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, hidden ones too."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()


def versions(client: Any, bucket: str) -> Iterator[tuple[str, bytes]]:
    """Every version of every object of a bucket."""
    for entry in client.list_objects(bucket_name=bucket, recursive=True, include_version=True):
        if entry.is_delete_marker:
            continue
        answer = client.get_object(bucket_name=bucket, object_name=entry.object_name, version_id=entry.version_id)
        try:
            yield f"{entry.object_name}@{entry.version_id}", answer.read()
        finally:
            answer.close()
            answer.release_conn()


def _values(data: bytes) -> str:
    if data[:4] != b"PAR1":
        return ""
    return str(pq.read_table(io.BytesIO(data)).to_pylist())
