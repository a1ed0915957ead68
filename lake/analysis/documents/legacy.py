"""Old binary formats: Excel by xlrd; Word, PowerPoint, Outlook, RTF and xlsb by kreuzberg (MIT since 4.10)."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from lake.analysis.documents.archive import ENCRYPTED_PACKAGE, opened
from lake.analysis.documents.base import Page, Source
from lake.analysis.documents.office import table_text
from lake.errors import Damaged, Protected, Unsupported
from lake.media.foreign import decoding, first_line

SECTOR_BYTES = 512
WORD_MAGIC = b"\xec\xa5"
WORD_2_MAGIC = b"\xdb\xa5"
WORD_6_SAID = "0xA5DC"
WORD_ENCRYPTED_FLAG = 0x01
"""In the second flag byte of the file information block ([MS-DOC] 2.5.2, fEncrypted)."""
SLIDES_ENCRYPTED = re.compile(rb"\xf6\x0f.{4}\x14\x00\x00\x00\xdf\xc4\xd1\xf3", re.S)
"""The CurrentUserAtom with the token of an encrypted presentation ([MS-PPT] 2.3.2)."""
SLIDES_TEXT = re.compile(rb"\0\0[\xa0\xa8]\x0f..\0\0(?!Click to|C\0l\0i\0c\0k\0|\*)[^\0]", re.S)
"""Text of a slide that is not a placeholder of its master ([MS-PPT] 2.9.42, 2.9.43)."""


def read_xls(source: Source) -> Iterator[Page]:
    """A sheet each, as for xlsx."""
    import xlrd

    with Path(os.devnull).open("w") as nowhere, decoding("the workbook"):
        try:
            book = xlrd.open_workbook(file_contents=source.whole(), logfile=nowhere, on_demand=True)
        except xlrd.XLRDError as error:
            if "encrypted" in str(error).lower():
                raise Protected("the workbook is encrypted with a password") from None
            raise Damaged(f"the workbook cannot be read: {first_line(error)}") from None
        for index in range(book.nsheets):
            sheet = book.sheet_by_index(index)
            rows = ([_value(cell, book.datemode) for cell in sheet.row(number)] for number in range(sheet.nrows))
            yield Page(table_text(rows, source.limits.max_text_chars), sheet.name)
            book.unload_sheet(index)


def _value(cell: Any, datemode: int) -> Any:
    import xlrd

    if cell.ctype == xlrd.XL_CELL_DATE:
        try:
            moment: datetime = xlrd.xldate_as_datetime(cell.value, datemode)
        except (ValueError, OverflowError):
            return cell.value
        return moment
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return bool(cell.value)
    if cell.ctype == xlrd.XL_CELL_ERROR:
        return xlrd.error_text_from_code.get(cell.value, "#?")
    return cell.value


def read_doc(source: Source) -> Iterator[Page]:
    """Word 97 to 2003: one page."""
    data = source.whole()
    if _word_is_encrypted(data):
        raise Protected("the document is encrypted with a password")
    try:
        yield from _extracted(source, data, "application/msword")
    except Damaged as error:
        if WORD_6_SAID in str(error) or data.startswith(WORD_2_MAGIC):
            raise Unsupported("no reader here for documents of Word 95 and older") from None
        raise


def _word_is_encrypted(data: bytes) -> bool:
    """Whether the file information block, which begins a sector, says so."""
    starts = range(0, len(data) - 12, SECTOR_BYTES)
    block = next((start for start in starts if data.startswith(WORD_MAGIC, start)), None)
    return block is not None and bool(data[block + 11] & WORD_ENCRYPTED_FLAG)


def read_ppt(source: Source) -> Iterator[Page]:
    """PowerPoint 97 to 2003: one page."""
    data = source.whole()
    if SLIDES_ENCRYPTED.search(data):
        raise Protected("the presentation is encrypted with a password")
    pages = list(_extracted(source, data, "application/vnd.ms-powerpoint"))
    if not any(page.text for page in pages) and SLIDES_TEXT.search(data):
        raise Unsupported("the presentation stores its text in a way that no reader here reads")
    yield from pages


def read_msg(source: Source) -> Iterator[Page]:
    """A message of Outlook: one page."""
    yield from _extracted(source, source.whole(), "application/vnd.ms-outlook")


def read_rtf(source: Source) -> Iterator[Page]:
    """Rich text: one page."""
    data = source.whole()
    if not data.lstrip().startswith(b"{\\"):
        raise Damaged("the document does not begin as rich text does")
    yield from _extracted(source, data, "application/rtf")


def read_xlsb(source: Source) -> Iterator[Page]:
    """Binary workbooks: one page."""
    with opened(source):
        pass
    yield from _extracted(source, source.whole(), "application/vnd.ms-excel.sheet.binary.macroEnabled.12")


def refuse_ole(source: Source) -> Iterator[Page]:
    """An OLE container of no kind we read; encrypted office documents look like this."""
    if ENCRYPTED_PACKAGE in source.whole():
        raise Protected("the document is encrypted with a password")
    raise Unsupported(f"no reader here for documents of type {source.content_type}")


def _extracted(source: Source, data: bytes, content_type: str) -> Iterator[Page]:
    import kreuzberg

    if ENCRYPTED_PACKAGE in data:
        raise Protected("the document is encrypted with a password")
    with decoding("the document"):
        result = kreuzberg.extract_bytes_sync(data, content_type, _config())
    yield Page(result.content)


@functools.cache
def _config() -> Any:
    """Nothing but text: no recognition of pictures, and no cache on disk."""
    import kreuzberg

    options: dict[str, Any] = {"use_cache": False, "disable_ocr": True, "enable_quality_processing": False}
    return kreuzberg.ExtractionConfig(**options)
