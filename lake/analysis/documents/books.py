"""Electronic books: EPUB by chapter, FictionBook by section."""

from __future__ import annotations

from collections.abc import Iterator

from lake.analysis.documents.archive import Archive, opened, parse_xml, resolved
from lake.analysis.documents.base import Page, Source
from lake.analysis.documents.markup import Rules, local_name, text_of
from lake.analysis.documents.text import html_page
from lake.errors import Damaged, Protected

FB2 = Rules(
    blocks=frozenset(
        ("p", "v", "title", "subtitle", "section", "epigraph", "poem", "stanza", "cite", "empty-line", "tr")
    ),
    skipped=frozenset(("binary", "image")),
    inserted={"td": "\t", "th": "\t"},
)
CHAPTER_TYPES = frozenset(("application/xhtml+xml", "text/html", "application/x-dtbook+xml"))


def read_epub(source: Source) -> Iterator[Page]:
    """A file of the spine each, in reading order."""
    with opened(source) as archive:
        package = _package(archive)
        root = archive.xml(package)
        files = {
            str(item.get("id")): resolved(package, str(item.get("href")))
            for item in root.iter("{*}item")
            if item.get("href") and item.get("media-type") in CHAPTER_TYPES
        }
        chapters = [files[str(item.get("idref"))] for item in root.iter("{*}itemref") if item.get("idref") in files]
        if "META-INF/rights.xml" in archive and "META-INF/encryption.xml" in archive:
            raise Protected("the book is encrypted: it needs the licence of a reader")
        for chapter in chapters:
            yield html_page(archive.read(chapter)) if chapter in archive else Page(None)


def _package(archive: Archive) -> str:
    container = "META-INF/container.xml"
    if container in archive:
        for rootfile in archive.xml(container).iter("{*}rootfile"):
            name = resolved("", str(rootfile.get("full-path")))
            if name in archive:
                return name
    found = [name for name in archive.names if name.lower().endswith(".opf")]
    if not found:
        raise Damaged("the book names no package file (META-INF/container.xml is missing or wrong)")
    return found[0]


def read_fb2(source: Source) -> Iterator[Page]:
    """A section of the body each."""
    root = parse_xml(source.whole(), "the book")
    if local_name(root) != "fictionbook":
        raise Damaged("the book is no FictionBook: its root element has another name")
    for body in root.iter("{*}body"):
        for element in body:
            if isinstance(element.tag, str) and (text := text_of(element, FB2)):
                title = element.find("{*}title")
                yield Page(text, " ".join(text_of(title, FB2).split()) if title is not None else None)
