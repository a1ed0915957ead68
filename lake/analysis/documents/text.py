"""Plain text and HTML, with the encoding they say or, failing that, the one their bytes look like."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lake.analysis.documents.base import Page, Source
from lake.analysis.documents.markup import Rules, text_of
from lake.media.foreign import decoding

if TYPE_CHECKING:
    from lxml.etree import _Element

SAMPLE_BYTES = 65_536
"""Enough to tell an encoding; the detector tries every one of them on it."""

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
DECLARED = re.compile(
    rb"""<(?:meta[^>]{0,200}charset|\?xml[^>]{0,100}encoding)\s*=\s*(?:["']\s*)?([\w.:-]{2,40})""", re.I
)
CHINESE = {"gb2312": "gb18030", "gbk": "gb18030", "cp936": "gb18030", "hz": "gb18030"}
"""Superset of each: what is labelled gb2312 often holds more."""

HTML = Rules(
    blocks=frozenset(
        "address article aside blockquote body caption center dd details dialog div dl dt fieldset figcaption figure"  # noqa: SIM905
        " footer form h1 h2 h3 h4 h5 h6 header hgroup hr li main menu nav ol option p pre section summary table tbody"
        " tfoot thead title tr ul".split()
    ),
    skipped=frozenset(("script", "style", "template", "noscript", "head", "svg", "object", "iframe", "math")),
    inserted={"br": "\n", "td": "\t", "th": "\t", "img": " "},
)


def read_plain(source: Source) -> Iterator[Page]:
    """Plain text: one page."""
    text, encoding = decoded(source.whole())
    yield Page(text, encoding=encoding)


def read_html(source: Source) -> Iterator[Page]:
    """HTML: one page. Scripts are neither run nor shown."""
    yield html_page(source.whole())


def html_page(data: bytes, encoding: str | None = None) -> Page:
    """Text and title of an HTML document, or of a part of one."""
    markup, encoding = decoded(data, encoding or declared_encoding(data))
    root = html_root(markup)
    if root is None:
        return Page("", encoding=encoding)
    title = root.findtext(".//{*}title")
    return Page(text_of(root, HTML), " ".join(title.split()) if title and title.strip() else None, encoding)


def html_root(markup: str) -> _Element | None:
    """Root element, None for a document without any."""
    from lxml import etree

    parser = etree.HTMLParser(encoding="utf-8", no_network=True, huge_tree=False, remove_comments=True)
    # libxml2 ends the document at a NUL, and it would look for another encoding in an XML declaration.
    cleaned = re.sub(r"^\s*<\?xml[^>]*\?>", "", markup.replace("\0", ""))
    if not cleaned.strip():
        return None
    with decoding("the HTML"):
        root: _Element | None = etree.fromstring(cleaned.encode("utf-8", "replace"), parser)
    return root


def declared_encoding(data: bytes) -> str | None:
    """The encoding HTML or XML names in its first bytes, if Python knows it."""
    found = DECLARED.search(data[:4096])
    return known_encoding(found.group(1).decode("ascii")) if found else None


def decoded(data: bytes, declared: str | None = None) -> tuple[str, str]:
    """Text and the encoding used: byte order mark, then UTF-8 if it is that, then what is declared, then detected."""
    for mark, name in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data.decode(name, "replace"), name.removesuffix("-sig")
    if declared in (None, "ascii", "utf-8"):
        try:
            return data.decode("utf-8"), "utf-8"
        except UnicodeDecodeError:
            declared = None
    name = declared or detected(data)
    return data.decode(name, "replace"), name


def detected(data: bytes) -> str:
    """The encoding charset-normalizer finds most likely for bytes that are no UTF-8; Latin-1 when it finds none."""
    from charset_normalizer import from_bytes

    best = from_bytes(data[:SAMPLE_BYTES]).best()
    return (known_encoding(best.encoding) if best else None) or "latin-1"


def known_encoding(name: str) -> str | None:
    """Python's name of a text encoding."""
    try:
        known = codecs.lookup(name).name
        "".encode(known)
    except (LookupError, UnicodeError):
        return None
    return CHINESE.get(known, known)
