"""What kind of model lies in a folder: declared in ``model.yaml`` beside the weights, or known by its files.

An ONNX file does not say what goes in and what comes out, so ``model.yaml`` does::

    task: image_labels          # what it does; an analysis asks for a task
    format: onnx                # onnx, onnx-embedding or silero-onnx
    onnx: model.onnx
    input: {kind: image, width_px: 224, height_px: 224, scale: 0.00392157, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
    output: {kind: scores, activation: softmax, labels: labels.txt, top: 5}
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lake.errors import ModelError

DESCRIPTION = "model.yaml"
WHISPER_FILES = ("model.bin", "config.json", "tokenizer.json")
"""Without the last one faster-whisper goes to a hub for it."""
VOCABULARIES = ("vocabulary.json", "vocabulary.txt")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ImageInput(_Frozen):
    """How a picture becomes a tensor: resized, then ``(value * scale - mean) / std`` for each channel."""

    kind: Literal["image"]
    name: str | None = None
    """Of the graph's input; null: the first."""
    width_px: int = Field(gt=0, le=8192)
    height_px: int = Field(gt=0, le=8192)
    resize: Literal["stretch", "crop"] = "stretch"
    """``crop`` keeps the proportions and takes the middle."""
    colour: Literal["rgb", "bgr", "grey"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    dtype: Literal["float32", "uint8"] = "float32"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


class ScoresOutput(_Frozen):
    """One score a label."""

    kind: Literal["scores"]
    name: str | None = None
    activation: Literal["none", "softmax", "sigmoid"] = "none"
    labels: str
    """File beside the model, one label a line."""
    top: int = Field(default=5, gt=0)
    at_least: float = 0.0
    """Lower scores are not told."""


class VectorOutput(_Frozen):
    """One vector."""

    kind: Literal["vector"]
    name: str | None = None
    normalize: bool = True


class TextInput(_Frozen):
    """How texts become tensors, and token vectors one vector."""

    tokenizer: str = "tokenizer.json"
    max_tokens: int = Field(default=256, gt=2)
    pooling: Literal["mean", "first", "none"] = "mean"
    """``none``: the graph gives one vector a text itself."""
    normalize: bool = True
    prefix: str = ""
    """Written before each text, for models that were trained so (``passage: ``)."""


class Description(_Frozen):
    """What ``model.yaml`` says."""

    task: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    format: Literal["onnx", "onnx-embedding", "silero-onnx"]
    onnx: str = "model.onnx"
    input: ImageInput | None = None
    output: ScoresOutput | VectorOutput | None = Field(default=None, discriminator="kind")
    text: TextInput = TextInput()

    @model_validator(mode="after")
    def _complete(self) -> Description:
        if self.format == "onnx" and (self.input is None or self.output is None):
            raise ValueError("format onnx needs input and output")
        return self

    def needs(self) -> list[str]:
        """Files that must lie beside it."""
        labels = [self.output.labels] if isinstance(self.output, ScoresOutput) else []
        return [self.onnx, *labels, *([self.text.tokenizer] if self.format == "onnx-embedding" else [])]


def described(folder: Path, files: Collection[str]) -> tuple[str, str]:
    """Task and format of the model in a folder whose files are these; what its engine needs is there.

    Raises:
        ModelError: no engine here loads such a folder, or a file that it needs is missing.
    """
    if DESCRIPTION in files:
        description = read_description(folder)
        _require(folder, files, description.needs(), f"{DESCRIPTION} names it")
        return description.task, description.format
    if "model.bin" in files:
        _require(folder, files, WHISPER_FILES, "faster-whisper would go to a hub or fail without it")
        if not any(name in files for name in VOCABULARIES):
            raise ModelError(f"{folder} lacks {' or '.join(VOCABULARIES)}: convert the model with CTranslate2 again")
        return "asr", "faster-whisper"
    raise ModelError(f"{folder} holds no known model: a Whisper of CTranslate2, or ONNX with a {DESCRIPTION}")


def read_description(folder: Path) -> Description:
    """``model.yaml`` of a folder, checked; ``ModelError`` names the key that is wrong."""
    path = folder / DESCRIPTION
    try:
        return Description.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ModelError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or DESCRIPTION
        raise ModelError(f"{path}: {where}: {first['msg'].lower()}") from error


def _require(folder: Path, files: Collection[str], needed: Collection[str], why: str) -> None:
    for name in needed:
        if name not in files:
            raise ModelError(f"{folder} lacks {name}: {why}")
