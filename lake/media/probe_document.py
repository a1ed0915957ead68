"""Technical metadata of documents: pages where the format says how many, and what a person should be warned of."""

from __future__ import annotations

import contextlib
import email.utils
import re
import zipfile
import zlib
from datetime import UTC, datetime
from typing import BinaryIO

from lake.errors import Damaged, LimitExceeded
from lake.media.foreign import first_line
from lake.media.limits import Limits
from lake.model import Sniffed, Technical

MAX_PROPERTY_BYTES = 1024 * 1024
MACROS = "has macros (kept, never run)"
ENCRYPTED = "encrypted with a password"


def probe_pdf(stream: BinaryIO, sniffed: Sniffed, size_bytes: int, limits: Limits) -> Technical:
    """Pages of a PDF by PDFium. One that needs a password lands, and says so."""
    import pypdfium2

    stream.seek(max(0, size_bytes - 4096))
    if b"%%EOF" not in stream.read():
        stream.seek(0)
        if not _linearized(stream.read(2048)):
            raise Damaged("the PDF is cut off: its end (%%EOF) is missing")
    stream.seek(0)
    try:
        document = pypdfium2.PdfDocument(stream)
    except pypdfium2.PdfiumError as error:
        said = str(error).lower()
        if "password" in said or "security" in said:
            return Technical(container="pdf", notes=ENCRYPTED)
        raise Damaged(f"the PDF cannot be opened: {first_line(error)}") from error
    try:
        notes = ["has scripts (kept, never run)"] if _has_script(stream) else []
        pages = len(document)
        if not pages:
            raise Damaged("the PDF has no page")
        return Technical(container="pdf", pages=pages, notes="; ".join(notes))
    finally:
        document.close()


def _linearized(head: bytes) -> bool:
    """Such a file has its first end mark near its start; PDFium then tells whether the rest is there."""
    return False if b"/Linearized" not in head else b"%%EOF" in head


def _has_script(stream: BinaryIO) -> bool:
    stream.seek(0)
    return re.search(rb"/(?:JavaScript|JS)\b", stream.read(8 * 1024 * 1024)) is not None


def probe_zip(stream: BinaryIO, sniffed: Sniffed, size_bytes: int, limits: Limits) -> Technical:
    """Office, OpenDocument and EPUB packages by their directory; only small property parts are unpacked."""
    container = _short_name(sniffed.content_type)
    try:
        archive = zipfile.ZipFile(stream)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise Damaged(f"the {container} file is cut off or damaged: {first_line(error)}") from error
    with archive:
        parts = archive.infolist()
        unpacked = sum(part.file_size for part in parts)
        if unpacked > limits.max_unpacked_bytes:
            raise LimitExceeded(f"unpacks to {unpacked:,} bytes, more than the {limits.max_unpacked_bytes:,} allowed")
        names = [part.filename for part in parts]
        notes = [MACROS] if any(name.endswith("vbaProject.bin") for name in names) else []
        return Technical(container=container, pages=_pages(archive, names, container), notes="; ".join(notes))


def _pages(archive: zipfile.ZipFile, names: list[str], container: str) -> int | None:
    if container in ("pptx", "xlsx"):
        part = r"ppt/slides/slide\d+\.xml" if container == "pptx" else r"xl/worksheets/sheet\d+\.(?:xml|bin)"
        return sum(re.fullmatch(part, name) is not None for name in names) or None
    for name, pattern in (
        ("docProps/app.xml", rb"<(?:\w+:)?Pages>(\d{1,9})<"),
        ("meta.xml", rb'meta:page-count="(\d{1,9})"'),
    ):
        with contextlib.suppress(KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError):
            with archive.open(name) as part_stream:
                found = re.search(pattern, part_stream.read(MAX_PROPERTY_BYTES))
            if found:
                return int(found[1]) or None
    return None


def _short_name(content_type: str) -> str:
    for mark, name in (
        ("wordprocessingml", "docx"),
        ("ms-word", "docx"),
        ("spreadsheetml", "xlsx"),
        ("ms-excel", "xlsx"),
        ("presentationml", "pptx"),
        ("ms-powerpoint", "pptx"),
        ("opendocument.text", "odt"),
        ("opendocument.spreadsheet", "ods"),
        ("opendocument.presentation", "odp"),
        ("epub", "epub"),
    ):
        if mark in content_type:
            return name
    return "zip"


def probe_ole(stream: BinaryIO, sniffed: Sniffed, size_bytes: int, limits: Limits) -> Technical:
    """Old Office files by the directory of their container."""
    import olefile

    if not olefile.isOleFile(stream):
        return Technical(container="binary", notes="a format older than 1997")
    stream.seek(0)
    try:
        with olefile.OleFileIO(stream) as container:
            names = {"/".join(entry).lower() for entry in container.listdir(streams=True, storages=True)}
            pages = None
            if "\x05summaryinformation" in names:
                with contextlib.suppress(Exception):
                    facts = container.get_metadata()
                    pages = facts.slides or facts.num_pages or None
    except Exception as error:  # olefile raises nearly anything on broken input
        raise Damaged(f"the OLE container is cut off or damaged: {first_line(error)}") from error
    notes = []
    if "encryptedpackage" in names:
        notes.append(ENCRYPTED)
    if any(name.split("/")[0] in ("macros", "_vba_project_cur") or name.endswith("/vba") for name in names):
        notes.append(MACROS)
    return Technical(container="ole", pages=pages if isinstance(pages, int) else None, notes="; ".join(notes))


def probe_mail(stream: BinaryIO, sniffed: Sniffed, size_bytes: int, limits: Limits) -> Technical:
    """When a mail was sent, by its Date field. One with no zone, or -0000, is in UTC (RFC 5322, 3.3)."""
    found = re.search(rb"^date:[ \t]*([^\r\n]+)", stream.read(65_536), re.IGNORECASE | re.MULTILINE)
    sent: datetime | None = None
    if found:
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            moment = email.utils.parsedate_to_datetime(found[1].decode("ascii", "replace"))
            sent = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return Technical(container="eml", captured_at_utc=sent)
