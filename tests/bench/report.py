"""The report of the bench: a Markdown table a part, goals beside figures, on two pages of ``docs``."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

BENCH_HEAD = """# Measurements

`make bench` measures all parts but `long`, on the whole corpus and one machine; each part says when it was measured.
Ratios carry over to other machines, seconds do not. `python -m tests.bench PART…` measures some parts anew and leaves
the others: {parts}.
"""
SCALE_HEAD = """# Scale

What the lake costs when it is large and when it is old. `python -m tests.bench {words}` makes this page and
takes half an hour; each part can be measured alone: {parts}. Ratios carry over to other machines, seconds do not.
"""


@dataclass(frozen=True)
class Page:
    """A document that is made of parts."""

    path: Path
    head: str
    parts: tuple[str, ...]

    @property
    def text(self) -> str:
        """What stands above the parts."""
        return self.head.format(parts=", ".join(f"`{part}`" for part in self.parts), words=" ".join(self.parts))


@dataclass(frozen=True)
class Figure:
    """One figure and what it was meant to be."""

    name: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def goal(self) -> str:
        if self.at_most is not None:
            return f"at most {_number(self.at_most)}"
        return f"at least {_number(self.at_least)}" if self.at_least is not None else ""

    @property
    def verdict(self) -> str:
        """Whether the goal is met; a missed one says by how much of the goal."""
        if self.at_most is not None:
            return "met" if self.value <= self.at_most else f"**missed by {self.value / self.at_most - 1:.0%}**"
        if self.at_least is not None:
            return "met" if self.value >= self.at_least else f"**missed by {1 - self.value / self.at_least:.0%}**"
        return ""


@dataclass
class Section:
    """One part's result."""

    part: str
    title: str
    text: str
    figures: list[Figure] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        measured = f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}."
        blocks = [f"## {self.title}", self.text, measured, *self.tables]
        if self.figures:
            cells = [(f.name, f"{_number(f.value)} {f.unit}".strip(), f.goal, f.verdict) for f in self.figures]
            blocks.append(table(("figure", "measured", "goal", ""), cells))
        return "\n\n".join(block.strip() for block in blocks if block.strip()) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def machine() -> str:
    """What a reader must know to compare: cores, memory, other work, versions; nothing that names the machine."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    packages = ", ".join(f"{name} {version(name)}" for name in ("pyspark", "delta-spark", "deltalake", "pyarrow"))
    load = f"load {os.getloadavg()[2]:.0f} in the last quarter of an hour"
    return f"{os.cpu_count()} cores, {gib:.0f} GiB, {load}; Python {platform.python_version()}, {packages}"


def write(section: Section, page: Page) -> None:
    """Put a section in its place on a page; the others stay as they are."""
    old = page.path.read_text(encoding="utf-8") if page.path.exists() else ""
    found = dict(re.findall(r"<!-- part: (\w+) -->\n(.*?)(?=\n<!-- part:|\Z)", old, re.S))
    found[section.part] = section.markdown()
    body = [f"<!-- part: {part} -->\n{found[part].rstrip()}\n" for part in page.parts if part in found]
    page.path.write_text("\n".join([page.text, *body]), encoding="utf-8")


def _cell(value: object) -> str:
    return _number(value) if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 20 else f"{value:,.2f}"
