"""Zip containers (docx, xlsx, pptx, odt, epub) read without trusting them: sizes are limited before inflating."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from lake.analysis.documents.base import Limits, Source
from lake.errors import Damaged, LimitExceeded, Protected
from lake.media.foreign import decoding

if TYPE_CHECKING:
    from lxml.etree import _Element

MAX_PARTS = 50_000
OLE_MAGIC = bytes.fromhex("d0cf11e0a1b11ae1")
ENCRYPTED_PACKAGE = "EncryptedPackage".encode("utf-16-le")


class Archive:
    """The parts of a zip container by name."""

    def __init__(self, archive: zipfile.ZipFile, limits: Limits) -> None:
        self._archive = archive
        self._limits = limits
        self.names = [info.filename for info in archive.infolist()]
        self._known = set(self.names)

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def read(self, name: str) -> bytes:
        """One part, inflated; it stops at the size it declares."""
        if name not in self._known:
            raise Damaged(f"the document lacks its part {name}")
        info = self._archive.getinfo(name)
        if info.file_size > self._limits.max_part_bytes:
            raise LimitExceeded(
                f"the part {name} unpacks to {info.file_size:,} bytes, more than {self._limits.max_part_bytes:,}"
            )
        if info.flag_bits & 1:
            raise Protected(f"the part {name} is encrypted")
        with decoding(f"the part {name}"):
            return self._archive.read(info)

    def xml(self, name: str) -> _Element:
        """Root element of a part; entities stay as they are and nothing outside is fetched."""
        return parse_xml(self.read(name), name)

    def relations(self, name: str) -> dict[str, tuple[str, str]]:
        """Office relationships of a part ("" for the package): id to (last word of the type, target part)."""
        folder, base = posixpath.split(name)
        source = posixpath.join(folder, "_rels", f"{base}.rels")
        if source not in self:
            return {}
        return {
            str(relation.get("Id")): (
                str(relation.get("Type")).rsplit("/", 1)[-1],
                resolved(name, str(relation.get("Target"))),
            )
            for relation in self.xml(source)
            if isinstance(relation.tag, str) and relation.get("TargetMode") != "External" and relation.get("Target")
        }


def resolved(name: str, target: str) -> str:
    """Name of the part that ``target`` means when part ``name`` says it."""
    target = unquote(target.partition("#")[0])
    return posixpath.normpath(posixpath.join("/", posixpath.dirname(name), target)).lstrip("/")


def parse_xml(data: bytes, what: str) -> _Element:
    """Root element. A document type with entities is kept as text and never expanded; depth and size are libxml2's."""
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    with decoding(f"the part {what}"):
        root: Any = etree.fromstring(data, parser)
        return root  # type: ignore[no-any-return]


@contextmanager
def opened(source: Source) -> Iterator[Archive]:
    """The container with its directory read and its limits checked; nothing is inflated yet."""
    limits = source.limits
    with source.open() as stream:
        if stream.read(len(OLE_MAGIC)) == OLE_MAGIC:
            stream.seek(0)
            if ENCRYPTED_PACKAGE in stream.read(limits.max_part_bytes):
                raise Protected("the document is encrypted with a password")
        stream.seek(0)
        with decoding("the document"):
            archive = zipfile.ZipFile(stream)
        with archive:
            parts = archive.infolist()
            unpacked = sum(info.file_size for info in parts)
            if unpacked > limits.max_unpacked_bytes:
                raise LimitExceeded(
                    f"the document unpacks to {unpacked:,} bytes, more than the {limits.max_unpacked_bytes:,} allowed"
                )
            if len(parts) > MAX_PARTS:
                raise LimitExceeded(f"the document has {len(parts):,} parts, more than the {MAX_PARTS:,} allowed")
            yield Archive(archive, limits)


def refuse_doctypes(archive: Archive) -> None:
    """Office XML must not have a document type; for libraries that parse the parts themselves."""
    for name in archive.names:
        if name.endswith((".xml", ".rels")):
            with decoding(f"the part {name}"), archive._archive.open(name) as part:
                head = part.read(4096).replace(b"\0", b"")
            if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
                raise Damaged(f"the part {name} declares a document type, which office documents must not")
