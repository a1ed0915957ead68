"""Small pictures of recordings: right outlines in bounded memory, pages of any shape, names that hide nothing."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from lake.catalog.report_coverage import joined
from lake.catalog.report_data import read_rules
from lake.catalog.report_pictures import image_uri
from lake.catalog.report_text import clock, lasting, size, until, visible
from lake.errors import Damaged, Protected, Unsupported
from lake.media.preview import MAX_FINE, MAX_PAGE_HEIGHT_PX, PAGE_WIDTH_PX, Outline, first_page, waveform
from tests.support.analysis_media import blocks, tone, wav


def pdf(width: float, height: float, **options: object) -> bytes:
    from reportlab.pdfgen.canvas import Canvas

    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(width, height), **options)
    canvas.rect(0, height / 2, width, height / 2, fill=1)
    canvas.save()
    return buffer.getvalue()


@pytest.mark.parametrize(("length", "size_of_block"), [(8_000, 999), (80_000, 80_000), (7, 3), (123_457, 10_007)])
def test_an_outline_keeps_every_extreme_wherever_blocks_are_cut(length: int, size_of_block: int) -> None:
    samples = np.random.default_rng(length).uniform(-1, 1, length).astype(np.float32)
    outline = Outline()
    for block in blocks(samples, size_of_block):
        outline.add(block)
    low, high = outline.reduced(300)
    assert outline.samples == length
    assert len(low) == len(high) <= 300
    assert (min(low), max(high)) == (round(float(samples.min()) * 100), round(float(samples.max()) * 100))


def test_an_outline_of_hours_stays_small_and_in_place() -> None:
    outline = Outline()
    quiet, loud = np.zeros(80_000, dtype=np.float32), np.full(80_000, 0.5, dtype=np.float32)
    for number in range(2000):
        outline.add(loud if number == 500 else quiet)
        assert len(outline._low) <= 2 * MAX_FINE
    _, high = outline.reduced(300)
    assert max(high) == 50
    assert abs(high.index(50) - 300 * 500 / 2000) <= 2


def test_a_waveform_of_a_file() -> None:
    samples = np.concatenate([np.zeros(8000, np.float32), tone(0.5, 200, 0.8)])
    args = {"sha256": "0" * 64, "content_type": "audio/x-wav", "data": wav(samples), "buckets": 100}
    drawn = waveform(args)
    assert drawn["duration_s"] == pytest.approx(1.0, abs=0.01)
    assert len(drawn["low"]) == 100
    assert max(drawn["high"][:48]) <= 2
    assert all(70 <= value <= 90 for value in drawn["high"][52:98])


@pytest.mark.parametrize(("width", "height"), [(595, 842), (842, 595), (300, 14_000), (14_000, 300), (10, 10)])
def test_a_first_page_has_one_width_and_a_bounded_height(width: int, height: int) -> None:
    drawn = first_page({"content_type": "application/pdf", "data": pdf(width, height)})
    with Image.open(io.BytesIO(drawn["image"])) as image:
        assert abs(image.width - PAGE_WIDTH_PX) <= 1
        expected = min(MAX_PAGE_HEIGHT_PX, height * PAGE_WIDTH_PX / width)
        assert abs(image.height - expected) <= 2
        assert image.convert("L").getpixel((image.width // 2, 1)) < 100, "the top of the page is shown"


def test_pages_that_cannot_be_drawn_say_why() -> None:
    from reportlab.lib.pdfencrypt import StandardEncryption

    locked = pdf(200, 200, encrypt=StandardEncryption("secret", canPrint=0))
    with pytest.raises(Protected):
        first_page({"content_type": "application/pdf", "data": locked})
    with pytest.raises(Damaged):
        first_page({"content_type": "application/pdf", "data": b"%PDF-1.4 nothing"})
    with pytest.raises(Unsupported):
        first_page({"content_type": "text/html", "data": b"<p>"})


def test_only_pictures_become_data_uris() -> None:
    assert image_uri(b"\xff\xd8\xff\xe0rest", 100) == "data:image/jpeg;base64,/9j/4HJlc3Q="
    assert image_uri(b"<svg onload=alert(1)>", 100) is None
    assert image_uri(b"\xff\xd8\xff" + bytes(200), 100) is None
    assert image_uri(None, 100) is None


def test_a_name_shows_what_is_in_it() -> None:
    assert visible("录音 1.wav") == "录音 1.wav"
    assert visible("a\u202egnp.exe\n\x00") == "a\\u{202E}gnp.exe\\u{A}\\u{0}"


def test_numbers_are_for_people() -> None:
    assert [size(n) for n in (None, 0, 999, 1000, 22_300_000, 5e15)] == [
        "–",
        "0 B",
        "999 B",
        "1.0 kB",
        "22.3 MB",
        "5,000.0 TB",
    ]
    seconds = (None, 9.96, 60, 119.6, 3599.9, 3600, 86_399, 90_000, float("nan"))
    assert [lasting(n) for n in seconds] == [
        "–",
        "10.0 s",
        "1 min 00 s",
        "2 min 00 s",
        "1 h 00 min",
        "1 h 00 min",
        "1 d 00 h",
        "1 d 01 h",
        "–",
    ]
    assert [clock(n) for n in (4.8, 61.26, 3661)] == ["0:04.8", "1:01.3", "1:01:01.0"]
    start = datetime(2026, 3, 1, 8, tzinfo=UTC)
    assert until(start.replace(hour=9), start) == "09:00:00"
    assert until(start.replace(day=2), start) == "2026-03-02 08:00:00"


def test_bars_of_one_level_are_joined() -> None:
    assert joined([(0, 1, 4), (1, 1, 4), (2, 1, 1), (5, 1, 4), (6, 1, 4)]) == [(0, 2, 4), (2, 1, 1), (5, 2, 4)]


@pytest.mark.parametrize("text", ["nonsense", "[1]", "5", '{"rules": [1]}', '{"rules": [{"ok": true}]}', "{}"])
def test_quality_of_no_known_form_is_shown_as_it_is(text: str) -> None:
    assert read_rules(text) is None
    assert read_rules("") == []
