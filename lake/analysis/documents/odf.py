"""OpenDocument: text as one page, spreadsheets by sheet, presentations by slide."""

from __future__ import annotations

from collections.abc import Iterator

from lake.analysis.documents.archive import opened
from lake.analysis.documents.base import Page, Source
from lake.analysis.documents.markup import Rules, local_name, text_of
from lake.errors import Protected

ODF = Rules(
    blocks=frozenset(("p", "h", "table-row", "list-item", "page", "table")),
    skipped=frozenset(("tracked-changes", "scripts", "font-face-decls", "automatic-styles", "binary-data")),
    inserted={"s": " ", "tab": "\t", "line-break": "\n"},
)
PAGES = {"spreadsheet": "table", "presentation": "page"}
"""What is a page of its own, by the kind of the body."""


def read(source: Source) -> Iterator[Page]:
    """Text as it stands in the document, without what tracked changes deleted."""
    with opened(source) as archive:
        manifest = "META-INF/manifest.xml"
        if manifest in archive and archive.xml(manifest).find(".//{*}encryption-data") is not None:
            raise Protected("the document is encrypted with a password")
        root = archive.xml("content.xml")
        body = root.find("{*}body")
        content = next((child for child in (body if body is not None else []) if isinstance(child.tag, str)), None)
        if content is None:
            yield Page("")
            return
        unit = PAGES.get(local_name(content))
        if unit is None:
            yield Page(text_of(content, ODF))
            return
        for element in content:
            if local_name(element) == unit:
                title = next((value for key, value in element.attrib.items() if str(key).endswith("}name")), None)
                yield Page(text_of(element, ODF), str(title) if title else None)
