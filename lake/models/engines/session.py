"""An onnxruntime session with one thread, on the device that was chosen and on no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lake.errors import ModelError
from lake.models.device import PROVIDERS


def session(path: Path, device: str) -> Any:
    """Load an ONNX file. One thread, because one task is one core.

    Raises:
        ModelError: onnxruntime took another device than the one asked for, which it does without an error.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    made = onnxruntime.InferenceSession(path, sess_options=options, providers=[PROVIDERS[device]])
    if PROVIDERS[device] not in made.get_providers():
        raise ModelError(f"{path.name} was to be loaded on {device}, onnxruntime took {made.get_providers()[0]}")
    return made


def input_names(made: Any) -> list[str]:
    """Names of a graph's inputs, in its order."""
    return [each.name for each in made.get_inputs()]


def output_name(made: Any, wanted: str | None) -> str:
    """The output of a graph that is wanted: the first unless one is named; ``ModelError`` names those there are."""
    names = [each.name for each in made.get_outputs()]
    if wanted is not None and wanted not in names:
        raise ModelError(f"the graph has no output {wanted!r}: it has {', '.join(names)}")
    return str(wanted or names[0])
