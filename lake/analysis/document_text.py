"""Text of documents by page, sheet, slide, chapter or message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from lake.analysis.base import Analysis
from lake.analysis.documents.base import Limits, Page, Source
from lake.errors import LimitExceeded, Unsupported
from lake.model import Media, Row

FIELDS = pa.schema(
    [
        ("text", pa.string()),
        ("char_count", pa.int32()),
        ("title", pa.string()),
        ("encoding", pa.string()),
        ("reader", pa.string()),
    ]
)

PARAMS: dict[str, Any] = {
    "max_unpacked_bytes": 256 * 1024 * 1024,
    "max_part_bytes": 64 * 1024 * 1024,
    "max_text_chars": 20_000_000,
    "max_pages": 20_000,
}


def run(media: Media, params: Mapping[str, Any]) -> Iterator[Row]:
    """One row a page, from 1. A page without text has the text ""; one that cannot be read has null.

    Where other analyses of the recording read its text too, it is read once.
    """
    if media.shared is None:
        return _pages(media, params)
    read = media.shared.once((run, tuple(params[name] for name in PARAMS)), lambda: list(_pages(media, params)))
    return iter(read)


def _pages(media: Media, params: Mapping[str, Any]) -> Iterator[Row]:
    from lake.analysis.documents.readers import reader_of

    reader = reader_of(media.content_type)
    if reader is None:
        raise Unsupported(f"no reader here for documents of type {media.content_type}")
    limits = Limits(**{name: int(params[name]) for name in PARAMS})
    source = Source(media.content_type, limits, media.data, media.path)
    chars = 0
    for number, page in enumerate(reader.read(source), start=1):
        if number > limits.max_pages:
            raise LimitExceeded(f"the document has more than the {limits.max_pages:,} pages allowed")
        row = _row(number, page, reader.name)
        chars += row["char_count"] or 0
        if chars > limits.max_text_chars:
            raise LimitExceeded(f"the document has more than the {limits.max_text_chars:,} characters allowed")
        yield row


def _row(number: int, page: Page, reader: str) -> Row:
    text = None if page.text is None else clean(page.text)
    return {
        "page": number,
        "text": text,
        "char_count": None if text is None else len(text),
        "title": None if page.title is None else clean(page.title),
        "encoding": page.encoding,
        "reader": reader,
    }


def clean(text: str) -> str:
    """Text that any table can hold: lines end in one newline, no NUL, no half of a surrogate pair."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return text.encode("utf-8", "replace").decode("utf-8").strip("\n")


DOCUMENT_TEXT = Analysis(
    name="document_text",
    version="1",
    media_kinds=("document",),
    piece=("page",),
    fields=FIELDS,
    run=run,
    params=PARAMS,
    time_limit_s=120.0,
)
