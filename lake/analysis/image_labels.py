"""Labels of an image with their scores, by an ONNX classifier that has to be chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from lake.analysis.base import Analysis
from lake.analysis.image_hash import IMAGE_HASH, decoded
from lake.model import Media, Row
from lake.models.loaded import engine_for

FIELDS = pa.schema([("label", pa.string()), ("score", pa.float32())])

PARAMS: dict[str, Any] = {"max_pixels": IMAGE_HASH.params["max_pixels"]}


def run(media: Media, params: Mapping[str, Any]) -> Iterator[Row]:
    """One row a label, best first; how many, and from which score on, the model's description says."""
    model = engine_for(params, "image_labels")
    for label, score in model.labels(decoded(media, int(params["max_pixels"]))):
        yield {"label": label, "score": score}


IMAGE_LABELS = Analysis(
    name="image_labels",
    version="1",
    media_kinds=("image",),
    piece=(),
    fields=FIELDS,
    run=run,
    params=PARAMS,
    accepts=IMAGE_HASH.accepts,
    models={"image_labels": None},
    time_limit_s=60.0,
)
