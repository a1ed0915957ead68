"""Images and documents: each analysis opens and decodes its recording once."""

from __future__ import annotations

from typing import Any

import pypdfium2
import pytest
from PIL import Image

from lake.analysis.registry import ANALYSES
from lake.model import Media
from tests.support import documents
from tests.support.analysis_media import encoded, scene


def counted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[str]:
    """Grows by each call of a function."""
    calls: list[str] = []
    function = getattr(owner, name)

    def calling(*arguments: Any, **options: Any) -> Any:
        calls.append(name)
        return function(*arguments, **options)

    monkeypatch.setattr(owner, name, calling)
    return calls


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_an_image(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    media = Media("0" * 64, f"image/{form.lower()}", "image", data=encoded(scene(3, 900, 700), form))
    opens, decodes = counted(monkeypatch, Image, "open"), counted(monkeypatch, Image, "_getdecoder")
    analysis = ANALYSES["image_hash"]
    assert len(list(analysis.run(media, analysis.params))) == 1
    assert (len(opens), len(decodes)) == (1, 1)


def test_a_pdf(monkeypatch: pytest.MonkeyPatch) -> None:
    media = Media("0" * 64, "application/pdf", "document", data=documents.pdf([["One"], ["Two"], ["Three"]]))
    opens = counted(monkeypatch, pypdfium2, "PdfDocument")
    pages = counted(monkeypatch, pypdfium2.PdfPage, "get_textpage")
    analysis = ANALYSES["document_text"]
    assert [row["text"] for row in analysis.run(media, analysis.params)] == ["One", "Two", "Three"]
    assert (len(opens), len(pages)) == (1, 3)
