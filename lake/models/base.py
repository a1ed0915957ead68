"""What a model is to the lake: files with their checksums, a task and a format. Its identity is its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lake.errors import ModelError

CHUNK_BYTES = 8 * 1024**2


@dataclass(frozen=True)
class ModelFile:
    """One file of a model; ``path`` is below the model's folder, with ``/`` between parts."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Model:
    """What a URI led to when a job was submitted. Pickles; travels with the tasks."""

    uri: str
    task: str
    """What it does: ``vad``, ``asr``, ``text_embedding``, ``image_labels`` …"""
    format: str
    """Which engine loads it (``lake.models.loaded.ENGINES``)."""
    place: str
    """Folder of its files: a key below the root for ``lake:``, else a path of the machine."""
    files: tuple[ModelFile, ...]

    @property
    def model_hash(self) -> str:
        return files_hash(self.files)


def files_hash(files: Iterable[ModelFile]) -> str:
    """sha256 of a model: that of its only file, else of the list that ``sha256sum`` prints, sorted by path."""
    ordered = sorted(files, key=lambda file: file.path)
    if len(ordered) == 1:
        return ordered[0].sha256
    return hashlib.sha256("".join(f"{file.sha256}  {file.path}\n" for file in ordered).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """sha256 of a local file, read a piece at a time."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def read_files(folder: Path) -> tuple[ModelFile, ...]:
    """All files below a folder with their checksums, by path; links to files count as files.

    Raises:
        ModelError: there is no such folder, or it is empty.
    """
    if not folder.is_dir():
        raise ModelError(f"no folder {folder}: name the folder that holds the model's files")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if not paths:
        raise ModelError(f"the folder {folder} is empty: a model has files")
    return tuple(ModelFile(p.relative_to(folder).as_posix(), p.stat().st_size, sha256_of(p)) for p in paths)


def differences(files: Iterable[ModelFile], folder: Path) -> list[str]:
    """What is not as it should be in a local copy, by file; files that the model does not name do not matter."""
    found = []
    for file in files:
        path = folder / file.path
        if not path.is_file():
            found.append(f"{file.path} is missing")
        elif path.stat().st_size != file.size_bytes or sha256_of(path) != file.sha256:
            found.append(f"{file.path} is altered")
    return found


def to_plain(files: Iterable[ModelFile]) -> list[dict[str, Any]]:
    """Files as the values of a table's row and of JSON."""
    return [{"path": file.path, "size_bytes": file.size_bytes, "sha256": file.sha256} for file in files]
