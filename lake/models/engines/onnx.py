"""Any ONNX model of pictures whose ``model.yaml`` says what goes in and what comes out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lake.errors import ModelError
from lake.models.describe import ImageInput, ScoresOutput, VectorOutput, read_description
from lake.models.engines.embedding import unit
from lake.models.engines.session import input_names, output_name, session

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image


class Onnx:
    """One picture in; labels with scores or a vector out, whichever the description says."""

    def __init__(self, folder: Path, device: str) -> None:
        description = read_description(folder)
        if description.input is None or description.output is None:
            raise ModelError(f"{folder / 'model.yaml'} says neither what goes in nor what comes out")
        self._input, self._made = description.input, description.output
        self._session = session(folder / description.onnx, device)
        names = input_names(self._session)
        self._name = self._input.name or names[0]
        if names != [self._name]:
            raise ModelError(f"{description.onnx} has the inputs {', '.join(names)}: one is declared, {self._name}")
        self._output = output_name(self._session, self._made.name)
        self._labels: list[str] = []
        if isinstance(self._made, ScoresOutput):
            self._labels = (folder / self._made.labels).read_text(encoding="utf-8").splitlines()
        self._try()

    def _try(self) -> None:
        """One picture when it is loaded: a description that does not fit its graph is no recording's fault."""
        from PIL import Image

        picture = Image.new("RGB", (self._input.width_px, self._input.height_px))
        self.labels(picture) if self._labels else self.vector(picture)

    def labels(self, image: Image) -> list[tuple[str, float]]:
        """Labels of a picture with their scores, best first."""
        if not isinstance(self._made, ScoresOutput):
            raise ModelError("this model gives vectors and no labels: its output is declared kind: vector")
        scores = activated(self._run(image), self._made.activation)
        if len(scores) != len(self._labels):
            raise ModelError(f"the graph gives {len(scores)} scores, {self._made.labels} has {len(self._labels)} lines")
        best = np.argsort(-scores, kind="stable")[: self._made.top]
        return [(self._labels[n], float(scores[n])) for n in best if scores[n] >= self._made.at_least]

    def vector(self, image: Image) -> NDArray[np.float32]:
        """The vector of a picture."""
        if not isinstance(self._made, VectorOutput):
            raise ModelError("this model gives labels and no vectors: its output is declared kind: scores")
        found = self._run(image)
        return unit(found) if self._made.normalize else found

    def _run(self, image: Image) -> NDArray[np.float32]:
        (output,) = self._session.run([self._output], {self._name: tensor(image, self._input)})
        return np.asarray(output, np.float32).reshape(-1)


def tensor(image: Image, said: ImageInput) -> NDArray[Any]:
    """A picture as the batch of one that a model wants: resized, its channels in order, scaled, centred."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    size = (said.width_px, said.height_px)
    picture = image.convert("L" if said.colour == "grey" else "RGB")
    if said.resize == "crop":
        picture = ImageOps.fit(picture, size, Pillow.Resampling.BILINEAR)
    else:
        picture = picture.resize(size, Pillow.Resampling.BILINEAR)
    values = np.atleast_3d(np.asarray(picture, np.float32))
    if said.colour == "bgr":
        values = values[:, :, ::-1]
    mean, std = np.array(said.mean, np.float32), np.array(said.std, np.float32)
    values = (values * np.float32(said.scale) - mean) / std
    if said.layout == "nchw":
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values[None]).astype(said.dtype)


def activated(values: NDArray[np.float32], activation: str) -> NDArray[np.float32]:
    """Scores out of what a graph gives: as they are, or by softmax or sigmoid."""
    if activation == "softmax":
        powers = np.exp(values - values.max())
        values = powers / powers.sum()
    if activation == "sigmoid":
        values = np.float32(1) / (np.float32(1) + np.exp(-values))
    return values
