"""Sentence embeddings: an ONNX encoder and its tokenizer, as ``model.yaml`` describes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lake.errors import ModelError
from lake.models.describe import read_description
from lake.models.engines.session import input_names, output_name, session

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH = 32
KNOWN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class TextEmbedding:
    """Texts in, one vector each out."""

    def __init__(self, folder: Path, device: str) -> None:
        from tokenizers import Tokenizer

        description = read_description(folder)
        self._text = description.text
        self._tokenizer: Any = Tokenizer.from_file(str(folder / self._text.tokenizer))
        self._tokenizer.enable_truncation(self._text.max_tokens)
        self._tokenizer.no_padding()
        self._session = session(folder / description.onnx, device)
        self._inputs = input_names(self._session)
        unknown = [name for name in self._inputs if name not in KNOWN_INPUTS]
        if unknown or "input_ids" not in self._inputs:
            raise ModelError(f"{description.onnx} has the inputs {', '.join(self._inputs)}: known are {KNOWN_INPUTS}")
        self._output = output_name(self._session, None)
        self.embed(["a"])  # a description that does not fit its graph is no recording's fault

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of texts, shape (texts, dimensions). A text's vector does not depend on its neighbours."""
        encoded = self._tokenizer.encode_batch([self._text.prefix + text for text in texts])
        order = sorted(range(len(texts)), key=lambda number: len(encoded[number].ids))  # little padding in a batch
        vectors: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(texts)
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            for number, vector in zip(chosen, self._batch([encoded[n].ids for n in chosen]), strict=True):
                vectors[number] = vector
        return np.stack(vectors) if vectors else np.zeros((0, 0), np.float32)

    def _batch(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        longest = max(1, *(len(row) for row in ids)) if ids else 1
        tokens = np.zeros((len(ids), longest), np.int64)
        mask = np.zeros((len(ids), longest), np.int64)
        for number, row in enumerate(ids):
            tokens[number, : len(row)], mask[number, : len(row)] = row, 1
        given = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": np.zeros_like(tokens)}
        (output,) = self._session.run([self._output], {name: given[name] for name in self._inputs})
        return pooled(np.asarray(output, np.float32), mask, self._text.pooling, normalize=self._text.normalize)


def pooled(
    output: NDArray[np.float32], mask: NDArray[np.int64], pooling: str, *, normalize: bool
) -> NDArray[np.float32]:
    """One vector a text out of vectors of tokens (texts, tokens, dimensions); padding does not count.

    Raises:
        ModelError: the graph's output has another shape than the description's ``pooling`` says.
    """
    if output.ndim != (2 if pooling == "none" else 3):
        raise ModelError(f"the graph gives {output.ndim} axes, which does not go with pooling: {pooling}")
    if pooling == "mean":
        weights = mask[:, :, None].astype(np.float32)
        output = (output * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1.0)
    elif pooling == "first":
        output = output[:, 0]
    return unit(output) if normalize else output


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors of length one; those of length zero stay."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
