"""Images and documents are opened and decoded once, by one analysis and by several that look at the same."""

from __future__ import annotations

from typing import Any

import pypdfium2
import pytest
from PIL import Image

from lake.analysis.image_hash import decoded
from lake.analysis.registry import ANALYSES
from lake.errors import RecordError
from lake.media.one_pass import together
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


def test_the_text_of_a_document_for_two_analyses(monkeypatch: pytest.MonkeyPatch) -> None:
    media = Media("0" * 64, "application/pdf", "document", data=documents.pdf([["One"], ["Two"]]))
    opens = counted(monkeypatch, pypdfium2, "PdfDocument")
    analysis = ANALYSES["document_text"]

    def texts(shared: Media) -> list[str]:
        return [row["text"] for row in analysis.run(shared, analysis.params)]

    assert together(media, {"text": texts, "embedding": texts}) == {"text": ["One", "Two"], "embedding": ["One", "Two"]}
    assert len(opens) == 1


def test_the_pixels_of_an_image_for_two_analyses(monkeypatch: pytest.MonkeyPatch) -> None:
    media = Media("0" * 64, "image/png", "image", data=encoded(scene(3), "PNG"))
    opens, decodes = counted(monkeypatch, Image, "open"), counted(monkeypatch, Image, "_getdecoder")
    sizes = together(media, {name: lambda shared: decoded(shared, 10**6).size for name in ("labels", "vector")})
    assert sizes == {"labels": (320, 240), "vector": (320, 240)}
    assert (len(opens), len(decodes)) == (1, 1)


def test_an_image_that_cannot_be_decoded_fails_for_each_that_looks_at_it() -> None:
    media = Media("0" * 64, "image/png", "image", data=b"no picture")

    def fails(shared: Media) -> str:
        with pytest.raises(RecordError) as told:
            decoded(shared, 10**6)
        return str(told.value)

    found = together(media, {"labels": fails, "vector": fails})
    assert found["labels"] == found["vector"] == fails(media)
