"""PDF by pypdfium2: the text layer page by page. Scripts and forms are not run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lake.analysis.documents.base import Page, Source
from lake.errors import Damaged, LimitExceeded, Protected
from lake.media.foreign import first_line


def read(source: Source) -> Iterator[Page]:
    """A page each; empty text for a page that is only a picture, None for one that is broken."""
    import pypdfium2

    document = _open(source)
    try:
        count = len(document)
        if count > source.limits.max_pages:
            raise LimitExceeded(f"the PDF has {count:,} pages, more than the {source.limits.max_pages:,} allowed")
        readable = 0
        for index in range(count):
            try:
                text: str | None = _page_text(document, index)
                readable += 1
            except (pypdfium2.PdfiumError, UnicodeError):
                text = None
            if text is None and index == count - 1 and not readable:
                raise Damaged("no page of the PDF can be read")
            yield Page(text)
    finally:
        document.close()


def _open(source: Source) -> Any:
    import pypdfium2

    try:
        return pypdfium2.PdfDocument(source.data if source.data is not None else source.path)
    except pypdfium2.PdfiumError as error:
        said = str(error).lower()
        if "password" in said:
            raise Protected("the PDF is encrypted and opens only with a password") from None
        if "security" in said:
            raise Protected("the PDF is encrypted in a way that is not supported") from None
        raise Damaged(f"the PDF cannot be opened: {first_line(error)}") from None


def _page_text(document: Any, index: int) -> str:
    page = document[index]
    try:
        layer = page.get_textpage()
        try:
            # PDFium marks a hyphen that only broke a word at a line's end by U+FFFE.
            return str(layer.get_text_range(errors="replace")).replace("\ufffe", "")
        finally:
            layer.close()
    finally:
        page.close()
