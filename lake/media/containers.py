"""What lies inside zip and OLE containers, by their directories; nothing but a few small parts is unpacked."""

from __future__ import annotations

import contextlib
import re
import struct
import zipfile
import zlib
from typing import BinaryIO

from lake.media.ole import root_names
from lake.media.signatures import ZIP
from lake.model import Sniffed

MAX_DIRECTORY_BYTES = 8 * 1024 * 1024
"""A zip whose directory is larger is a zip and nothing more said."""

OLE_STREAMS: tuple[tuple[str, str], ...] = (
    ("EncryptedPackage", "application/x-ole-encrypted-package"),
    ("WordDocument", "application/msword"),
    ("PowerPoint Document", "application/vnd.ms-powerpoint"),
    ("Workbook", "application/vnd.ms-excel"),
    ("Book", "application/vnd.ms-excel"),
    ("VisioDocument", "application/vnd.visio"),
    ("__properties_version1.0", "application/vnd.ms-outlook"),
    ("Quill", "application/vnd.ms-publisher"),
    ("MatOST", "application/vnd.ms-works"),
)
"""Names in the root of an OLE container that say what it is (MS-CFB, MS-DOC, MS-XLS, MS-PPT, MS-OXMSG)."""


def inside_zip(stream: BinaryIO, head: bytes) -> Sniffed:
    """What a zip container is, by its directory; by the first entries where it is cut off."""
    with contextlib.suppress(Exception), zipfile.ZipFile(_SmallReads(stream)) as archive:
        return _zip_type(archive)
    return _zip_by_entries(head)


class _SmallReads:
    """A zip of which no more is read at once than a directory may have: zipfile reads a directory as a whole, and more
    than one record can declare its size (APPNOTE 4.3.14, 4.3.16)."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.seek, self.tell, self.seekable = stream.seek, stream.tell, stream.seekable

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size if 0 <= size <= MAX_DIRECTORY_BYTES else MAX_DIRECTORY_BYTES + 1)
        if len(data) > MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile("the directory is too large")
        return data


def _zip_type(archive: zipfile.ZipFile) -> Sniffed:
    names = set(archive.namelist())
    if "mimetype" in names:
        declared = _start_of(archive, "mimetype", 128).decode("ascii", "replace").strip()
        if re.fullmatch(r"application/[\w.+-]+", declared):
            document = declared.startswith("application/vnd.oasis") or declared == "application/epub+zip"
            return Sniffed(declared, "document" if document else "other")
    for name in names:
        if name.lower() == "[content_types].xml":
            return _ooxml(_start_of(archive, name, 262_144))
    if any(name.endswith("META-INF/container.xml") for name in names):
        return Sniffed("application/epub+zip", "document")
    if "FixedDocSeq.fdseq" in names:
        return Sniffed("application/vnd.ms-xpsdocument", "document")
    return Sniffed("application/zip", "other")


def _start_of(archive: zipfile.ZipFile, name: str, most_bytes: int) -> bytes:
    """The beginning of a part, stored or deflated as the formats have it: zipfile unpacks others without a bound."""
    if archive.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile(f"{name} is compressed by another method than deflate")
    with archive.open(name) as part:
        return part.read(most_bytes)


BINARY_WORKBOOK = b"application/vnd.ms-excel.sheet.binary.macroEnabled.main"


def _ooxml(content_types: bytes) -> Sniffed:
    """The type of an Office package is that of its main part less ``.main+xml`` (ECMA-376 part 2, 10.1)."""
    if BINARY_WORKBOOK in content_types:
        return Sniffed("application/vnd.ms-excel.sheet.binary.macroEnabled.12", "document")
    found = re.search(
        rb'"(application/vnd\.(?:openxmlformats-officedocument|ms-[\w-])[\w.+-]*?)\.main\+xml"', content_types
    )
    if found:
        name = found.group(1).decode("ascii")
        return Sniffed(f"{name}.12" if name.lower().endswith("macroenabled") else name, "document")
    for mark, name in (
        (b"ms-visio.drawing", "application/vnd.ms-visio.drawing"),
        (b"package.xps-fixeddocumentsequence", "application/vnd.ms-xpsdocument"),
        (b"theme+xml", "application/vnd.ms-officetheme"),
    ):
        if mark in content_types:
            return Sniffed(name, "document")
    return Sniffed("application/zip", "other")


def _zip_by_entries(head: bytes) -> Sniffed:
    """The type by local headers, for a zip without its directory: its content is damaged, its kind is known."""
    office = "application/vnd.openxmlformats-officedocument"
    for mark, name in (
        (b"word/", f"{office}.wordprocessingml.document"),
        (b"xl/", f"{office}.spreadsheetml.sheet"),
        (b"ppt/", f"{office}.presentationml.presentation"),
    ):
        if ZIP in head and mark in head:
            return Sniffed(name, "document")
    if head[30:38] == b"mimetype":
        declared = head[38:166].split(b"PK")[0].decode("ascii", "replace")
        if re.fullmatch(r"application/(?:vnd\.oasis[\w.+-]+|epub\+zip)", declared):
            return Sniffed(declared, "document")
    if head[30:49] == b"[Content_Types].xml":
        with contextlib.suppress(zlib.error, struct.error):
            name_bytes, extra_bytes = struct.unpack_from("<HH", head, 26)
            return _ooxml(zlib.decompressobj(-15).decompress(head[30 + name_bytes + extra_bytes :], 262_144))
    return Sniffed("application/zip", "other")


def inside_ole(stream: BinaryIO) -> Sniffed:
    """What an OLE compound file is, by the names in its root."""
    names: set[str] = set()
    with contextlib.suppress(struct.error):
        names = root_names(stream)
    for name, content_type in OLE_STREAMS:
        if name.lower() in names:
            return Sniffed(content_type, "document")
    return Sniffed("application/x-ole-storage", "document")
