"""Documents with known text, made by other libraries than those that read them, or by hand."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

ENGLISH = "The quick brown fox jumps over the lazy dog"
CHINESE = "敏捷的棕色狐狸跳过懒狗"
OLE_MAGIC = bytes.fromhex("d0cf11e0a1b11ae1")


def pdf(pages: Sequence[Sequence[str]], **options: Any) -> bytes:
    """A page each, a line each, in a font that has Chinese."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfgen.canvas import Canvas

    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    buffer = io.BytesIO()
    canvas = Canvas(buffer, invariant=1, **options)
    for lines in pages:
        canvas.setFont("STSong-Light", 12)
        for number, line in enumerate(lines):
            canvas.drawString(72, 760 - 20 * number, line)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def docx(lines: Sequence[str], cells: Sequence[str] = ()) -> bytes:
    import docx as python_docx

    document = python_docx.Document()
    for line in lines:
        document.add_paragraph(line)
    if cells:
        table = document.add_table(rows=1, cols=len(cells))
        for cell, text in zip(table.rows[0].cells, cells, strict=True):
            cell.text = text
    document.sections[0].header.paragraphs[0].text = "header line"
    return _saved(document)


def xlsx(sheets: Mapping[str, Sequence[Sequence[Any]]]) -> bytes:
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    return _saved(book)


def pptx(slides: Sequence[tuple[str, str, str]]) -> bytes:
    """Slides of title, body and speaker's notes."""
    from pptx import Presentation

    show = Presentation()
    for title, body, notes in slides:
        slide = show.slides.add_slide(show.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = body
        slide.notes_slide.notes_text_frame.text = notes
    return _saved(show)


def _saved(document: Any) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def zipped(parts: Mapping[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return buffer.getvalue()


def replaced(archive: bytes, changes: Mapping[str, str | bytes]) -> bytes:
    """A zip with some of its parts changed or added."""
    with zipfile.ZipFile(io.BytesIO(archive)) as old:
        parts: dict[str, str | bytes] = {name: old.read(name) for name in old.namelist()}
    return zipped({**parts, **changes})


ODF_NAMES = " ".join(
    f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for prefix, name in (("office", "office"), ("text", "text"), ("table", "table"), ("draw", "drawing"))
)


def odf(body: str, manifest: str = "<manifest/>") -> bytes:
    root = "office:document-content"
    content = f'<?xml version="1.0"?><{root} {ODF_NAMES}><office:body>{body}</office:body></{root}>'
    return zipped({"mimetype": "", "content.xml": content, "META-INF/manifest.xml": manifest})


def odt(lines: Sequence[str]) -> bytes:
    deleted = "<text:tracked-changes><text:p>deleted words</text:p></text:tracked-changes>"
    return odf(f"<office:text>{deleted}{''.join(f'<text:p>{line}</text:p>' for line in lines)}</office:text>")


def epub(chapters: Sequence[tuple[str, str]]) -> bytes:
    """Chapters of title and text, listed in the manifest in another order than they are read."""
    numbered = list(enumerate(chapters))
    items = "".join(
        f'<item id="c{n}" href="text/c%20{n}.xhtml" media-type="application/xhtml+xml"/>' for n, _ in reversed(numbered)
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n, _ in numbered)
    package = (
        f'<package xmlns="http://www.idpf.org/2007/opf"><manifest>{items}</manifest><spine>{spine}</spine></package>'
    )
    parts: dict[str, str | bytes] = {
        "META-INF/container.xml": '<container><rootfile full-path="OEBPS/book.opf"/></container>',
        "OEBPS/book.opf": package,
    }
    for n, (title, text) in numbered:
        page = f"<html xmlns='http://www.w3.org/1999/xhtml'><head><title>{title}</title></head><body><p>{text}</p></body></html>"
        parts[f"OEBPS/text/c {n}.xhtml"] = f'<?xml version="1.0" encoding="utf-8"?>{page}'
    return zipped(parts)


def message(subject: str, text: str, html: str | None = None, attachment: str | None = None, **charset: str) -> bytes:
    from email.message import EmailMessage

    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "Ann <ann@example.org>", "bob@example.org", subject
    mail.set_content(text, **charset)
    if html is not None:
        mail.add_alternative(html, subtype="html")
    if attachment is not None:
        mail.add_attachment(b"#!/bin/sh\n", maintype="application", subtype="x-sh", filename=attachment)
    return mail.as_bytes()
