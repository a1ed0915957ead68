"""Vectors of the passages of a document, by a sentence model that has to be chosen: for search by meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import pyarrow as pa

from lake.analysis.base import Analysis
from lake.analysis.document_text import DOCUMENT_TEXT
from lake.model import Media, Row
from lake.models.loaded import engine_for

FIELDS = pa.schema(
    [
        ("char_start", pa.int32()),
        ("char_end", pa.int32()),
        ("embedding", pa.list_(pa.float32())),
    ]
)

PARAMS: dict[str, Any] = {"passage_chars": 1000, "text": DOCUMENT_TEXT.params}

AT_ONCE = 256
"""Passages held at once."""

Passage = tuple[int, int, int, str]
"""Page, first character, end, text."""


def run(media: Media, params: Mapping[str, Any]) -> Iterator[Row]:
    """One row a passage; its text is that of ``feature_document_text`` from ``char_start`` to ``char_end``."""
    model = engine_for(params, "text_embedding")
    found = _passages(media, params)
    while batch := list(islice(found, AT_ONCE)):
        vectors = model.embed([text for _, _, _, text in batch])
        for (page, start, end, _), vector in zip(batch, vectors, strict=True):
            yield {"page": page, "char_start": start, "char_end": end, "embedding": [float(v) for v in vector]}


def _passages(media: Media, params: Mapping[str, Any]) -> Iterator[Passage]:
    for row in DOCUMENT_TEXT.run(media, params["text"]):
        for start, end in passages(row["text"] or "", int(params["passage_chars"])):
            yield row["page"], start, end, row["text"][start:end]


def passages(text: str, most_chars: int) -> Iterator[tuple[int, int]]:
    """Begin and end of passages of at most ``most_chars``, ended after a line, a sentence or a word where there is one.

    Together they hold all of the text that is not white space.
    """
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        end = min(len(text), at + most_chars)
        if end < len(text):
            end = _good_end(text, at, end)
        yield at, at + len(text[at:end].rstrip())
        at = end


def _good_end(text: str, start: int, end: int) -> int:
    """The last good place to end, in the second half of what fits; else the end itself."""
    for marks in ("\n\n", "\n", "。", ". ", " "):
        place = text.rfind(marks, start + (end - start) // 2, end)
        if place >= 0:
            return place + len(marks)
    return end


TEXT_EMBEDDING = Analysis(
    name="text_embedding",
    version="1",
    media_kinds=("document",),
    piece=("page",),
    fields=FIELDS,
    run=run,
    params=PARAMS,
    models={"text_embedding": None},
    time_limit_s=600.0,
)
