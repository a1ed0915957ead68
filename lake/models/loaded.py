"""Models that this process has loaded: each once, counted. Runs in the decoding child, which has no network.

The files are on this machine before the child is asked (``lake.models.cache``); a model is named to the child by a
plain mapping, the *entry*: ``{uri, format, folder, model_hash, device}``.
"""

from __future__ import annotations

import importlib
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lake.errors import ModelError
from lake.models.base import Model
from lake.models.device import Device, choose

ENGINES = {
    "faster-whisper": "lake.models.engines.whisper:Whisper",
    "onnx": "lake.models.engines.onnx:Onnx",
    "onnx-embedding": "lake.models.engines.embedding:TextEmbedding",
    "silero-onnx": "lake.models.engines.silero:Silero",
}
"""Class by format, called with folder and device; adding one is one file and one line."""

LOADS: Counter[str] = Counter()
"""How often each model was loaded in this process, by URI."""

_LOADED: dict[tuple[str, str, str], Any] = {}
_ONE_AT_A_TIME = threading.Lock()


def entry_of(model: Model, folder: Path, device: Device) -> dict[str, str]:
    """What the child is told of a model: values that msgpack knows."""
    return {
        "uri": model.uri,
        "format": model.format,
        "folder": str(folder),
        "model_hash": model.model_hash,
        "device": device,
    }


def engine(entry: Mapping[str, str]) -> Any:
    """The engine of a model, loaded when it is first asked for in this process.

    Raises:
        ModelError: it cannot be loaded; the line names it.
    """
    key = (entry["model_hash"], entry["folder"], entry["device"])
    with _ONE_AT_A_TIME:  # analyses of one recording run in threads
        if key not in _LOADED:
            _LOADED[key] = _load(entry)
            LOADS[entry["uri"]] += 1
        return _LOADED[key]


def engine_for(params: Mapping[str, Any], task: str) -> Any:
    """The engine that an analysis was given for a task."""
    entries: Mapping[str, Mapping[str, str]] = params.get("models", {})
    if task not in entries:
        raise ModelError(f"no model for {task} was given to the analysis: name one in analysis.models")
    return engine(entries[task])


def load_all(args: Mapping[str, Any]) -> dict[str, int]:
    """Load the models of ``args["entries"]``; return how often each model was loaded in this process so far."""
    for entry in args["entries"]:
        engine(entry)
    return dict(LOADS)


def _load(entry: Mapping[str, str]) -> Any:
    module, name = ENGINES[entry["format"]].split(":")
    made = getattr(importlib.import_module(module), name)
    device = choose(entry["device"], entry["format"])  # type: ignore[arg-type]
    try:
        return made(Path(entry["folder"]), device)
    except (ModelError, MemoryError):
        raise
    except Exception as error:  # each library has errors of its own
        said = " ".join(str(error).split())
        raise ModelError(f"the model {entry['uri']} cannot be loaded: {type(error).__name__}: {said:.300}") from error
