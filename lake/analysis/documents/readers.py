"""Which reader reads which content type. Adding a format is one function and one line here."""

from __future__ import annotations

from lake.analysis.documents import books, legacy, mail, odf, office, pdf, text
from lake.analysis.documents.base import Reader

PDF = Reader("pypdfium2", pdf.read)
DOCX = Reader("docx (lxml)", office.read_docx)
XLSX = Reader("openpyxl", office.read_xlsx)
PPTX = Reader("pptx (lxml)", office.read_pptx)
ODF = Reader("odf (lxml)", odf.read)
RTF = Reader("kreuzberg", legacy.read_rtf)
HTML = Reader("html (lxml)", text.read_html)
PLAIN = Reader("text", text.read_plain)
MAIL = Reader("email", mail.read_message)
OLE = Reader("none", legacy.refuse_ole)

OFFICE = "application/vnd.openxmlformats-officedocument"
OPEN = "application/vnd.oasis.opendocument"

READERS: dict[str, Reader] = {
    "application/pdf": PDF,
    f"{OFFICE}.wordprocessingml.document": DOCX,
    f"{OFFICE}.wordprocessingml.template": DOCX,
    "application/vnd.ms-word.document.macroenabled.12": DOCX,
    "application/vnd.ms-word.template.macroenabled.12": DOCX,
    f"{OFFICE}.spreadsheetml.sheet": XLSX,
    f"{OFFICE}.spreadsheetml.template": XLSX,
    "application/vnd.ms-excel.sheet.macroenabled.12": XLSX,
    "application/vnd.ms-excel.template.macroenabled.12": XLSX,
    "application/vnd.ms-excel.addin.macroenabled.12": XLSX,
    f"{OFFICE}.presentationml.presentation": PPTX,
    f"{OFFICE}.presentationml.slideshow": PPTX,
    f"{OFFICE}.presentationml.template": PPTX,
    "application/vnd.ms-powerpoint.presentation.macroenabled.12": PPTX,
    "application/vnd.ms-powerpoint.slideshow.macroenabled.12": PPTX,
    "application/vnd.ms-powerpoint.template.macroenabled.12": PPTX,
    f"{OPEN}.text": ODF,
    f"{OPEN}.text-template": ODF,
    f"{OPEN}.spreadsheet": ODF,
    f"{OPEN}.presentation": ODF,
    f"{OPEN}.graphics": ODF,
    "application/rtf": RTF,
    "text/rtf": RTF,
    "text/html": HTML,
    "application/xhtml+xml": HTML,
    "application/epub+zip": Reader("epub (lxml)", books.read_epub),
    "application/x-fictionbook+xml": Reader("fb2 (lxml)", books.read_fb2),
    "message/rfc822": MAIL,
    "application/mbox": Reader("email", mail.read_mbox),
    "application/msword": Reader("kreuzberg", legacy.read_doc),
    "application/vnd.ms-excel": Reader("xlrd", legacy.read_xls),
    "application/vnd.ms-excel.sheet.binary.macroenabled.12": Reader("kreuzberg", legacy.read_xlsb),
    "application/vnd.ms-powerpoint": Reader("kreuzberg", legacy.read_ppt),
    "application/vnd.ms-outlook": Reader("kreuzberg", legacy.read_msg),
    "application/x-ole-storage": OLE,
    "application/cdfv2": OLE,
    "application/x-cfb": OLE,
    "text/plain": PLAIN,
    "text/markdown": PLAIN,
    "text/x-tex": PLAIN,
    "application/x-tex": PLAIN,
    "text/xml": PLAIN,
    "application/xml": PLAIN,
}
"""By content type in lower case."""


def reader_of(content_type: str) -> Reader | None:
    """The reader of a content type; other kinds of text are read as plain text."""
    plain = content_type.partition(";")[0].strip().lower()
    return READERS.get(plain) or (PLAIN if plain.startswith("text/") else None)
