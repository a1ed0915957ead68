"""What lies inside zip and OLE containers, by their directories; nothing but a few small parts is unpacked."""

from __future__ import annotations

import contextlib
import io
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
    with contextlib.suppress(Exception):
        if _directory_bytes(stream) <= MAX_DIRECTORY_BYTES:
            with zipfile.ZipFile(stream) as archive:
                return _zip_type(archive)
    return _zip_by_entries(head)


def _directory_bytes(stream: BinaryIO) -> int:
    """Size of the central directory as the end record declares it (APPNOTE 4.3.16)."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(max(0, size - 65_557))
    tail = stream.read()
    at = tail.rfind(b"PK\x05\x06")
    return int(struct.unpack_from("<I", tail, at + 12)[0]) if at >= 0 else MAX_DIRECTORY_BYTES + 1


def _zip_type(archive: zipfile.ZipFile) -> Sniffed:
    names = set(archive.namelist())
    if "mimetype" in names:
        with archive.open("mimetype") as part:
            declared = part.read(128).decode("ascii", "replace").strip()
        if re.fullmatch(r"application/[\w.+-]+", declared):
            document = declared.startswith("application/vnd.oasis") or declared == "application/epub+zip"
            return Sniffed(declared, "document" if document else "other")
    for name in names:
        if name.lower() == "[content_types].xml":
            with archive.open(name) as part:
                return _ooxml(part.read(262_144))
    if any(name.endswith("META-INF/container.xml") for name in names):
        return Sniffed("application/epub+zip", "document")
    if "FixedDocSeq.fdseq" in names:
        return Sniffed("application/vnd.ms-xpsdocument", "document")
    return Sniffed("application/zip", "other")


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
