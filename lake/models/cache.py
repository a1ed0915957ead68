"""A model's files on this machine: a cache by content, in which a model is whole or not there. Runs on the executor."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lake.errors import ModelError, StoreError
from lake.models.base import CHUNK_BYTES, Model, differences
from lake.models.resolve import BUILTIN
from lake.models.uri import parse
from lake.store.objects import ObjectStore


def localized(model: Model, store: ObjectStore, cache_dir: Path) -> Path:
    """The folder of a model's files on this machine, checked against the checksums once in a process.

    A registered model is fetched into ``<cache>/models/<model_hash>`` unless it is there. What another scheme names
    must lie here already, with the same bytes as where the job was submitted.

    Raises:
        ModelError: not the same files here, or altered in the store, or no place to keep them.
    """
    key = (model, store.root, cache_dir)
    if key not in _CHECKED or not _CHECKED[key].is_dir():
        _CHECKED[key] = _checked(model, store, cache_dir)
    return _CHECKED[key]


_CHECKED: dict[tuple[Model, str, Path], Path] = {}


def _checked(model: Model, store: ObjectStore, cache_dir: Path) -> Path:
    uri = parse(model.uri)
    if uri.scheme == "lake":
        return fetched(model, store, cache_dir)
    folder = Path(BUILTIN[uri.name]().place if uri.scheme == "builtin" else model.place)
    found = differences(model.files, folder)
    if found:
        raise ModelError(
            f"{model.uri} is not the same on {os.uname().nodename} as where the job was submitted: {found[0]};"
            " install the same version there, or register the model (`lake models add`)"
        )
    return folder


def fetched(model: Model, store: ObjectStore, cache_dir: Path) -> Path:
    """The cached folder of a registered model; of processes that come at the same time one fetches, the others wait.

    A copy whose bytes are not the model's any more is fetched anew.
    """
    folder = cache_dir / "models" / model.model_hash
    with _one_at_a_time(folder):
        if folder.is_dir():
            if not differences(model.files, folder):
                return folder
            shutil.rmtree(folder)
        for left in folder.parent.glob(f"{folder.name}.part-*"):  # of a process that was killed at it
            shutil.rmtree(left, ignore_errors=True)
        part = folder.with_name(f"{folder.name}.part-{uuid.uuid4().hex}")
        with _named(model.uri, part):
            for file in model.files:
                _fetch(store, f"{model.place}/{file.path}", file.size_bytes, part / file.path)
            found = differences(model.files, part)
            if found:
                raise ModelError(f"the model {model.uri} cannot be used: {found[0]} in {store.root}/{model.place}")
            part.rename(folder)
    return folder


@contextmanager
def _named(uri: str, part: Path) -> Iterator[None]:
    """Errors of the store and the disk name the model; what was fetched of it until then is removed."""
    try:
        yield
    except OSError as error:
        raise ModelError(f"the model {uri} does not get to {part.parent}: {error.strerror or error}") from error
    except StoreError as error:
        if error.retryable:
            raise
        raise ModelError(f"the model {uri} cannot be used: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _fetch(store: ObjectStore, key: str, size_bytes: int, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        for offset in range(0, size_bytes, CHUNK_BYTES):
            out.write(store.get_range(key, offset, min(CHUNK_BYTES, size_bytes - offset)))
        out.flush()
        os.fsync(out.fileno())


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold a folder's lock file; the system lets go of it however the process ends."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(f"{folder.name}.lock").open("a")
    except OSError as error:
        raise ModelError(f"no place for models at {folder.parent} ({error.strerror}): set LAKE_CACHE") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
