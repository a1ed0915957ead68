"""Word, Excel and PowerPoint since 2007: the parts read straight from the package. Macros are data nobody looks at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime, time
from typing import Any

from lake.analysis.documents.archive import Archive, opened, refuse_doctypes
from lake.analysis.documents.base import Page, Source
from lake.analysis.documents.markup import Rules, text_of
from lake.errors import Damaged
from lake.media.foreign import decoding

WORD = Rules(
    blocks=frozenset(("p", "tr")),
    # A text box comes twice, the second time for old programs; what was deleted is w:delText, which is not asked for.
    skipped=frozenset(("fallback", "rpr", "ppr", "instrtext")),
    inserted={"tab": "\t", "br": "\n", "cr": "\n", "nobreakhyphen": "-"},
    text_in=frozenset(("t",)),
)
SLIDE = Rules(
    blocks=frozenset(("p",)), skipped=frozenset(("fallback",)), inserted={"br": "\n"}, text_in=frozenset(("t",))
)
R_ID = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
R_ID_STRICT = "{http://purl.oclc.org/ooxml/officeDocument/relationships}id"
WORD_PARTS = ("header", "footnotes", "endnotes", "comments", "footer")
"""Parts beside the main text, in the order in which they are added to it."""


def read_docx(source: Source) -> Iterator[Page]:
    """All of the text as page 1 (Word breaks pages only when it prints), then notes, comments, headers and footers."""
    with opened(source) as archive:
        main = _main_part(archive)
        related = sorted(archive.relations(main).values())
        parts = [main] + [target for kind in WORD_PARTS for found, target in related if found == kind]
        texts = [text_of(archive.xml(part), WORD) for part in dict.fromkeys(parts) if part == main or part in archive]
        yield Page("\n".join(text for text in texts if text))


def read_pptx(source: Source) -> Iterator[Page]:
    """A slide each, in the order shown, with the speaker's notes below it."""
    with opened(source) as archive:
        main = _main_part(archive)
        relations = archive.relations(main)
        for slide in archive.xml(main).iter("{*}sldId"):
            _, part = relations.get(str(slide.get(R_ID) or slide.get(R_ID_STRICT)), ("", ""))
            if part not in archive:
                yield Page(None)
                continue
            texts = [text_of(archive.xml(part), SLIDE)]
            notes = [target for kind, target in archive.relations(part).values() if kind == "notesSlide"]
            texts += [text_of(archive.xml(target), SLIDE) for target in notes if target in archive]
            yield Page("\n".join(text for text in texts if text))


def read_xlsx(source: Source) -> Iterator[Page]:
    """A sheet each: values as last computed, cells by tabs, rows by lines, empty rows left out."""
    import warnings

    import openpyxl

    with opened(source) as archive:
        _main_part(archive)
        refuse_doctypes(archive)
    # openpyxl warns of what it would lose if it wrote the workbook again.
    with source.open() as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with decoding("the workbook"):
            book = openpyxl.load_workbook(stream, read_only=True, data_only=True, keep_links=False)
        try:
            for sheet in book.worksheets:
                with decoding(f"the sheet {sheet.title}"):
                    sheet.reset_dimensions()  # type: ignore[union-attr]
                    rows = sheet.iter_rows(values_only=True)
                    yield Page(table_text(rows, source.limits.max_text_chars), sheet.title)
        finally:
            book.close()


def table_text(rows: Iterable[Iterable[Any]], max_chars: int) -> str:
    """Rows as lines with tabs; stops soon after ``max_chars``, which the caller then refuses."""
    lines: list[str] = []
    chars = 0
    for row in rows:
        line = "\t".join(_cell(value) for value in row).rstrip("\t")
        if line:
            lines.append(line)
            chars += len(line)
            if chars > max_chars:
                break
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value).replace("\t", " ").replace("\n", " ")


def _main_part(archive: Archive) -> str:
    for kind, target in archive.relations("").values():
        if kind == "officeDocument" and target in archive:
            return target
    raise Damaged("the package names no main part: it is no office document or a part of it is lost")
