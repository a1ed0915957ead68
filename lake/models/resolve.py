"""From a URI to a model, checked, when a job is submitted. Runs on the driver; nothing falls back to anything."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import uuid
from collections.abc import Callable
from pathlib import Path

from lake.errors import ModelError, NotFound
from lake.models.base import Model, ModelFile, read_files, sha256_of
from lake.models.describe import described
from lake.models.registry import find, object_problems, of_row
from lake.models.uri import parse
from lake.store.objects import ObjectStore
from lake.tables import Tables


def silero_path() -> Path:
    """The ONNX file that faster-whisper carries, found without importing it: that loads a recogniser nobody needs."""
    found = importlib.util.find_spec("faster_whisper")
    if found is None or not found.submodule_search_locations:
        raise ModelError("builtin:silero-vad needs the package faster-whisper: install requirements.lock")
    return Path(found.submodule_search_locations[0]) / "assets" / "silero_vad_v6.onnx"


def _silero() -> Model:
    path = silero_path()
    try:
        file = ModelFile(path.name, path.stat().st_size, sha256_of(path))
    except OSError as error:
        raise ModelError(f"builtin:silero-vad: {path.name} of faster-whisper cannot be read: reinstall it") from error
    return Model("builtin:silero-vad", "vad", "silero-onnx", str(path.parent), (file,))


BUILTIN: dict[str, Callable[[], Model]] = {"silero-vad": _silero}
"""Models that come with installed packages, by name."""


def resolve(text: str, tables: Tables, store: ObjectStore, cache_dir: Path) -> Model:
    """The model a URI names, with every file there and unaltered.

    Raises:
        UsageError: no URI. ModelError: absent or altered; the line names the model.
    """
    uri = parse(text)
    if uri.scheme == "builtin":
        if uri.name not in BUILTIN:
            raise ModelError(f"no model {uri}: built in are {', '.join(f'builtin:{name}' for name in BUILTIN)}")
        return BUILTIN[uri.name]()
    if uri.scheme == "path":
        folder = Path(uri.name).expanduser().absolute()
        files = read_files(folder)
        return Model(f"path:{folder}", *described(folder, {file.path for file in files}), str(folder), files)
    model = of_row(find(tables, uri))
    require_whole(model, store, cache_dir)
    return model


def require_whole(model: Model, store: ObjectStore, cache_dir: Path) -> None:
    """Check a registered model's objects: by their bytes the first time, then by size and ETag.

    An ETag changes when an object is written again, so a model of gigabytes is not read at every submission.

    Raises:
        ModelError: a file is missing or altered.
    """
    stamp = cache_dir / "models" / f"{hashlib.sha256(f'{store.root}/{model.place}'.encode()).hexdigest()}.checked"
    seen = _seen(model, store)
    if seen is not None and _read(stamp) == seen:
        return
    problems = object_problems(store, model.place, model.files)
    if problems:
        raise ModelError(f"the model {model.uri} cannot be used: {problems[0]} in {store.root}/{model.place}")
    _write(stamp, seen)


def _seen(model: Model, store: ObjectStore) -> list[list[object]] | None:
    """What tells one state of the objects from another; None when one is missing or the store has no ETags."""
    try:
        infos = [store.stat(f"{model.place}/{file.path}") for file in model.files]
    except NotFound:
        return None
    if any(info.etag is None for info in infos):
        return None
    return [[file.path, file.sha256, info.size_bytes, info.etag] for file, info in zip(model.files, infos, strict=True)]


def _read(stamp: Path) -> object:
    try:
        return json.loads(stamp.read_text())
    except (OSError, ValueError):
        return None


def _write(stamp: Path, seen: object) -> None:
    """Remember a state. Where nothing can be written, the next submission reads the bytes again."""
    if seen is None:
        return
    try:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        fresh = stamp.with_name(f"{stamp.name}.{uuid.uuid4().hex}")
        fresh.write_text(json.dumps(seen))
        fresh.replace(stamp)
    except OSError:
        return
