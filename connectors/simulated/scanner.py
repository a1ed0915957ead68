"""A scanner and the office around it: PDF pages, office documents, tables and pictures in Chinese and English."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lake.model import MediaKind

_FONTS = (
    Path("/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf"),
    Path("/usr/share/fonts/truetype/wqy/wqy-microhei.ttc"),
)
"""Fonts with Chinese letters that are embedded where they are installed; without them the reader's own are used."""
_TOPICS = (
    ("道路照明", "street lighting"),
    ("噪声投诉", "noise complaint"),
    ("垃圾清运", "waste collection"),
    ("停车管理", "parking"),
    ("供水检修", "water supply repair"),
    ("公园绿化", "park maintenance"),
)
_RUNS = re.compile(r"[\x00-\x7f]+|[^\x00-\x7f]+")
_FIXED_TIME = (2026, 3, 1, 8, 0, 0)


@dataclass(frozen=True)
class Document:
    """One document: the end of its name, its bytes, and the text of its pages."""

    suffix: str
    media_kind: MediaKind
    data: bytes
    pages: tuple[str, ...] = ()


def documents(seed: int) -> list[Document]:
    """Everything the office sends, in order of sending."""
    rng = np.random.default_rng([seed, 4])
    pdfs = [_scan(rng, pages) for pages in (1, 2, 3, 1, 2, 4)]
    letters: tuple[Callable[[tuple[str, ...]], Document], ...] = (_docx, _xlsx, _pptx, _text, _html)
    office = [make(_lines(rng)) for make in letters]
    return [*pdfs, *office, *_tables(rng), *(_picture(rng, suffix) for suffix in (".jpg", ".png", ".jpg", ".png"))]


def _lines(rng: np.random.Generator) -> tuple[str, ...]:
    """The lines of one page; its number makes every page distinct."""
    number = int(rng.integers(10_000, 99_999))
    chinese, english = _TOPICS[int(rng.integers(len(_TOPICS)))]
    minutes = int(rng.integers(5, 90))
    return (
        f"Case No. {number}: {english}",
        f"案件编号 {number}:{chinese}",
        f"A citizen called about {english}; the call took {minutes} minutes.",
        f"市民来电反映{chinese}问题,通话时长{minutes}分钟。",
        f"Forwarded to the office in charge, answer within {minutes % 7 + 1} days.",
        f"已转交主管部门办理,{minutes % 7 + 1}个工作日内答复。",
    )


def _scan(rng: np.random.Generator, count: int) -> Document:
    from reportlab.lib.pagesizes import A4
    from reportlab.pdfgen.canvas import Canvas

    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=A4, invariant=1)
    font = _font()
    pages = [_lines(rng) for _ in range(count)]
    for page, lines in enumerate(pages, 1):
        for index, line in enumerate(lines):
            text = canvas.beginText(70, 760 - 30 * index)
            for run in _RUNS.findall(line):
                # Chinese fonts come without Latin letters: each script is set in a font that has it.
                text.setFont("Helvetica" if run.isascii() else font, 15 if index < 2 else 12)
                text.textOut(run)
            canvas.drawText(text)
        canvas.setStrokeColorRGB(0.75, 0.1, 0.1)
        canvas.circle(430, 420 - 20 * page, 55)
        canvas.showPage()
    canvas.save()
    return Document(".pdf", "document", buffer.getvalue(), tuple("\n".join(lines) for lines in pages))


def _font() -> str:
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfbase.ttfonts import TTFError, TTFont

    for path in _FONTS:
        if path.exists():
            try:
                pdfmetrics.registerFont(TTFont("Office", str(path)))
            except TTFError:
                continue  # a font in a flavour that cannot be embedded
            return "Office"
    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    return "STSong-Light"


def _docx(lines: tuple[str, ...]) -> Document:
    import docx

    document = docx.Document()
    document.add_heading(lines[0], 1)
    for line in lines[1:]:
        document.add_paragraph(line)
    return Document(".docx", "document", _saved(document), ("\n".join(lines),))


def _xlsx(lines: tuple[str, ...]) -> Document:
    import openpyxl

    book = openpyxl.Workbook()
    sheet: Any = book.active
    sheet.title = "案件"
    for row, line in enumerate(lines, 1):
        sheet.append([row, line])
    return Document(".xlsx", "document", _saved(book), ("\n".join(lines),))


def _pptx(lines: tuple[str, ...]) -> Document:
    import pptx

    deck = pptx.Presentation()
    for title, body in zip(lines[::2], lines[1::2], strict=True):
        slide: Any = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text, slide.placeholders[1].text = title, body
    pages = tuple(f"{title}\n{body}" for title, body in zip(lines[::2], lines[1::2], strict=True))
    return Document(".pptx", "document", _saved(deck), pages)


def _text(lines: tuple[str, ...]) -> Document:
    """As an old program writes it: in GB18030, which says nowhere that it is."""
    text = "\n".join(lines)
    return Document(".txt", "document", text.encode("gb18030"), (text,))


def _html(lines: tuple[str, ...]) -> Document:
    body = "".join(f"<p>{line}</p>" for line in lines)
    head = f'<meta charset="utf-8"><title>{lines[0]}</title>'
    page = f'<!DOCTYPE html><html lang="zh"><head>{head}</head><body>{body}</body></html>'
    return Document(".html", "document", page.encode(), ("\n".join(lines),))


def _tables(rng: np.random.Generator) -> list[Document]:
    rows = [
        {"case": int(rng.integers(10_000, 99_999)), "topic": _TOPICS[row % 6][0], "minutes": int(rng.integers(5, 90))}
        for row in range(40)
    ]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["case", "topic", "minutes"])
    writer.writeheader()
    writer.writerows(rows)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return [Document(".csv", "table", text.getvalue().encode()), Document(".jsonl", "table", lines.encode())]


def _picture(rng: np.random.Generator, suffix: str) -> Document:
    """A photograph of a form: paper, lines, a stamp."""
    import cv2

    paper = np.full((600, 450, 3), 235, np.uint8)
    paper -= rng.integers(0, 12, paper.shape).astype(np.uint8)
    for y in range(80, 560, 40):
        cv2.line(paper, (40, y), (int(rng.integers(200, 410)), y), (60, 60, 60), 2)
    cv2.circle(paper, (int(rng.integers(100, 350)), int(rng.integers(350, 500))), 50, (40, 40, 200), 4)
    cv2.putText(paper, f"FORM {rng.integers(1000, 9999)}", (40, 50), cv2.FONT_HERSHEY_SIMPLEX, 1, (20, 20, 20), 2)
    return Document(suffix, "image", cv2.imencode(suffix, paper)[1].tobytes())


def _saved(document: Any) -> bytes:
    """The bytes of an office document with all times of saving set to one: the same text gives the same bytes."""
    written, fixed = io.BytesIO(), io.BytesIO()
    document.save(written)
    now = re.compile(rb"(<dcterms:(?:created|modified)[^>]*>)[^<]*")
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(fixed, "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.namelist():
            data = source.read(member)
            if member == "docProps/core.xml":
                data = now.sub(rb"\g<1>2026-03-01T08:00:00Z", data)
            target.writestr(zipfile.ZipInfo(member, _FIXED_TIME), data, zipfile.ZIP_DEFLATED)
    return fixed.getvalue()
