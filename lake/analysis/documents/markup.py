"""Plain text of XML and HTML trees: block elements become lines. Iterative, so that depth costs no stack."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxml.etree import _Element

SPACE = re.compile(r"[ \t\r\n\f\v\u200b]+")


@dataclass(frozen=True)
class Rules:
    """How the elements of one vocabulary become text; names without namespace."""

    blocks: frozenset[str]
    """Begin and end a line."""
    skipped: frozenset[str] = frozenset()
    """Left out with all they contain."""
    inserted: Mapping[str, str] = field(default_factory=dict)
    """Stand for characters: line breaks, tabs."""
    text_in: frozenset[str] | None = None
    """Only text directly inside these counts (office XML); None: all text, with white space collapsed (HTML)."""


def local_name(element: _Element) -> str:
    """Name without its namespace; "" for comments, instructions and entities."""
    tag = element.tag
    return tag.rpartition("}")[2].lower() if isinstance(tag, str) else ""


def text_of(root: _Element, rules: Rules) -> str:
    """Text below an element, lines by block elements, empty lines dropped."""
    from lxml import etree

    pieces: list[str] = []
    walk = etree.iterwalk(root, events=("start", "end", "comment", "pi"))
    for event, element in walk:
        name = local_name(element)
        if event == "start":
            if name in rules.skipped:
                walk.skip_subtree()
            else:
                pieces.append(_opening(element, name, rules))
        elif name in rules.blocks:
            pieces.append("\n")
        if event != "start" and rules.text_in is None and element is not root and element.tail:
            pieces.append(SPACE.sub(" ", element.tail))
    lines = (line.strip(" ") for line in "".join(pieces).split("\n"))
    return "\n".join(re.sub(r" {2,}", " ", line) if rules.text_in is None else line for line in lines if line.strip())


def _opening(element: _Element, name: str, rules: Rules) -> str:
    before = "\n" if name in rules.blocks else rules.inserted.get(name, "")
    if rules.text_in is not None:
        return before + (element.text or "" if name in rules.text_in else "")
    return before + SPACE.sub(" ", element.text or "")
