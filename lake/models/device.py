"""On what a model computes: ``cpu``, ``cuda``, or ``auto``, which takes a GPU where there is one."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Literal

from lake.errors import ModelError

Device = Literal["cpu", "cuda", "auto"]

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""onnxruntime's names."""


def has_cuda(form: str) -> bool:
    """Whether the library that loads a format sees a GPU on this machine."""
    if form == "faster-whisper":
        import ctranslate2

        return int(ctranslate2.get_cuda_device_count()) > 0
    import onnxruntime

    return PROVIDERS["cuda"] in onnxruntime.get_available_providers()


def choose(device: Device, form: str, sees_gpu: Callable[[str], bool] = has_cuda) -> Literal["cpu", "cuda"]:
    """The device that a model of a format is loaded on. Runs where it is loaded.

    Raises:
        ModelError: ``cuda`` is asked for and there is none. The CPU is taken only where it was asked for, or ``auto``.
    """
    if device == "cpu":
        return "cpu"
    if sees_gpu(form):
        return "cuda"
    if device == "cuda":
        library = "ctranslate2" if form == "faster-whisper" else "onnxruntime (the package onnxruntime-gpu)"
        raise ModelError(f"device cuda is asked for, and {library} sees none on {os.uname().nodename}: use cpu or auto")
    return "cpu"
