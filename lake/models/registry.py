"""The registry of models: a row of the table ``models`` for each version, its files below ``models/<name>/<version>``.

Runs on the driver. A version is claimed by an object that exactly one of several writers can create, so that a number
never means two things; the row comes last, so that what stands in the table is whole in the store.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lake.errors import ModelError, NotFound, UsageError
from lake.model import Row
from lake.models.base import CHUNK_BYTES, Model, ModelFile, files_hash, read_files, to_plain
from lake.models.describe import described
from lake.models.uri import ModelUri, parse_registered
from lake.schema import MODELS
from lake.store.objects import ObjectStore
from lake.store.staging import spool
from lake.tables import Tables, rows_table

TABLE = "models"


@dataclass(frozen=True)
class Added:
    """What an addition did: the model, and whether it was new."""

    name: str
    version: int
    model: Model
    new: bool


def folder_of(name: str, version: int) -> str:
    """Key of a model's folder below the root."""
    return f"models/{name}/{version}"


def examined(name: str, folder: Path) -> Model:
    """The model in a local folder, as it would be registered.

    Raises:
        UsageError: the name is none, or has a version. ModelError: no engine here loads what lies in the folder.
    """
    wanted = parse_registered(name)
    if wanted.version:
        raise UsageError(f"{name} has a version: the registry gives the next one, write {wanted.name}")
    files = read_files(folder)
    task, form = described(folder, {file.path for file in files})
    return Model(f"lake:{wanted.name}", task, form, str(folder), files)


def facts_of(model: Model, licence: str) -> Row:
    """What the registry says of a model, but for its name, version and time."""
    return {
        "task": model.task,
        "format": model.format,
        "licence": licence,
        "model_hash": model.model_hash,
        "size_bytes": sum(file.size_bytes for file in model.files),
        "files": to_plain(model.files),
    }


def add(
    store: ObjectStore,
    tables: Tables,
    name: str,
    model: Model,
    licence: str,
    run_id: str,
    now: datetime,
    scratch: str | None,
) -> Added:
    """Register a model that was examined, as the next version of its name; the same bytes again change nothing.

    Files are copied below ``scratch`` first (None: the system's folder): what is put in the store is what was hashed,
    and no link to the user's own file.

    Raises:
        ModelError: a file changed meanwhile.
    """
    rows = list_models(tables, name)
    for row in rows:
        if row["model_hash"] == model.model_hash and row["licence"] == licence:
            return Added(name, row["version"], of_row(row), new=False)
    facts = {"name": name, **facts_of(model, licence)}
    version = _claim(store, name, max((row["version"] for row in rows), default=0) + 1, facts)
    _upload(store, folder_of(name, version), model, scratch)
    row = {**facts, "version": version, "added_at_utc": now, "run_id": run_id}
    tables.create(TABLE, MODELS)
    tables.append(TABLE, rows_table([row], MODELS))
    return Added(name, version, of_row(row), new=True)


def _claim(store: ObjectStore, name: str, version: int, facts: Row) -> int:
    """The first version from ``version`` on that nobody has, or that a killed addition of the same model had."""
    wanted = json.dumps(facts, sort_keys=True).encode()
    while True:
        key = f"{folder_of(name, version)}.json"
        if store.put_if_absent(key, wanted) or store.get(key) == wanted:
            return version
        version += 1


def _upload(store: ObjectStore, folder: str, model: Model, scratch: str | None) -> None:
    for file in model.files:
        source = Path(model.place) / file.path
        with spool(scratch) as temporary:
            copy = temporary / "file"
            if _copied(source, copy) != file.sha256:
                raise ModelError(f"{source} changed while it was read: add the model again")
            store.put(f"{folder}/{file.path}", copy)
    problems = object_problems(store, folder, model.files)
    if problems:
        raise ModelError(f"{folder} is not in the store as it was written: {problems[0]}")


def _copied(source: Path, target: Path) -> str:
    """Copy a file and return the sha256 of the copy."""
    shutil.copyfile(source, target)
    with target.open("rb") as copy:
        return hashlib.file_digest(copy, "sha256").hexdigest()


def list_models(tables: Tables, name: str | None = None) -> list[Row]:
    """Registered versions, by name and version; a lake made before there were models has none."""
    if not tables.exists(TABLE):
        return []
    rows: list[Row] = tables.dataset(TABLE).to_table().to_pylist()
    once = {(row["name"], row["version"]): row for row in reversed(rows)}
    return [row for key, row in sorted(once.items()) if name in (None, key[0])]


def find(tables: Tables, wanted: ModelUri) -> Row:
    """The row of one registered version.

    Raises:
        ModelError: there is no such model, or no version is named; the line says which there are.
    """
    every = list_models(tables)
    rows = [row for row in every if row["name"] == wanted.name]
    if not rows:
        known = ", ".join(sorted({row["name"] for row in every})) or "none"
        raise ModelError(f"no model {wanted} in the lake: `lake models add` registers one; known: {known}")
    if wanted.version is None:
        raise ModelError(f"{wanted} names no version: the newest is {wanted}@{rows[-1]['version']}")
    for row in rows:
        if row["version"] == wanted.version:
            return row
    raise ModelError(f"no model {wanted} in the lake: versions are {', '.join(str(row['version']) for row in rows)}")


def of_row(row: Row) -> Model:
    """The model that a row of the table describes."""
    files = tuple(ModelFile(file["path"], file["size_bytes"], file["sha256"]) for file in row["files"])
    uri = f"lake:{row['name']}@{row['version']}"
    if files_hash(files) != row["model_hash"]:
        raise ModelError(f"the row of {uri} contradicts itself: its hash is not that of its files")
    return Model(uri, row["task"], row["format"], folder_of(row["name"], row["version"]), files)


def object_problems(store: ObjectStore, folder: str, files: Iterable[ModelFile]) -> list[str]:
    """What is not in the store as it should be, by file; every byte is read, a piece at a time."""
    found = []
    for file in files:
        key = f"{folder}/{file.path}"
        try:
            size_bytes = store.stat(key).size_bytes
        except NotFound:
            found.append(f"{file.path} is missing")
            continue
        if size_bytes != file.size_bytes or _object_sha256(store, key, size_bytes) != file.sha256:
            found.append(f"{file.path} is altered")
    return found


def _object_sha256(store: ObjectStore, key: str, size_bytes: int) -> str:
    digest = hashlib.sha256()
    for offset in range(0, size_bytes, CHUNK_BYTES):
        digest.update(store.get_range(key, offset, min(CHUNK_BYTES, size_bytes - offset)))
    return digest.hexdigest()
