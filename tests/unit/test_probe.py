"""Technical metadata of one recording of each format, and what is cut off or damaged is noticed."""

from __future__ import annotations

import contextlib
import io
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lake.errors import Damaged, LimitExceeded, RecordError
from lake.media.limits import Limits
from lake.media.probe import probe
from lake.media.probe_image import _length_px
from lake.media.sniff import sniff
from lake.model import Technical
from tests.support import documents
from tests.support.analysis_media import scene
from tests.support.recordings import Recording, gigapixel_png, mp4, recordings, zip_bomb_docx

LIMITS = Limits()


def probed(data: bytes, name: str, limits: Limits = LIMITS) -> Technical:
    return probe(sniff(data[:65536], size_bytes=len(data), name=name, data=data), data, None, len(data), limits)


@pytest.mark.parametrize("recording", recordings(), ids=lambda r: r.name)
def test_the_facts_are_found(recording: Recording) -> None:
    found = probed(recording.data, recording.name)
    for name, value in recording.facts.items():
        assert getattr(found, name) == (pytest.approx(value, abs=0.05) if isinstance(value, float) else value), name


@pytest.mark.parametrize("recording", [r for r in recordings() if r.cut_is_noticed], ids=lambda r: r.name)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_what_is_cut_off_is_damaged(recording: Recording, share: float) -> None:
    cut = recording.data[: int(len(recording.data) * share)]
    with pytest.raises(Damaged):
        probed(cut, recording.name)


@pytest.mark.parametrize("recording", recordings(), ids=lambda r: r.name)
def test_damage_anywhere_gives_facts_or_a_record_error(recording: Recording) -> None:
    """Never another exception: it would cost more than the recording."""
    lots = random.Random(recording.name)
    for _ in range(30):
        data = bytearray(recording.data)
        for _ in range(lots.choice((1, 5, 50))):
            data[lots.randrange(min(len(data), 4096))] = lots.randrange(256)
        try:
            probed(bytes(data), recording.name)
        except RecordError as error:
            assert "\n" not in str(error)
            assert str(error)


def test_nothing_is_an_empty_file() -> None:
    with pytest.raises(Damaged, match="empty"):
        probed(b"", "a.mp4")


def test_an_index_before_the_pictures_does_not_hide_that_they_are_cut_off(tmp_path: Path) -> None:
    import av

    path = tmp_path / "fast.mp4"
    with (
        av.open(io.BytesIO(mp4())) as source,
        av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = path.read_bytes()
    assert probed(data, "a.mp4").duration_s == pytest.approx(1.0, abs=0.1)
    with pytest.raises(Damaged, match="cut off"):
        probed(data[: len(data) * 8 // 10], "a.mp4")


def test_a_gigapixel_picture_lands_with_its_size_and_a_note() -> None:
    found = probed(gigapixel_png(), "a.png")
    assert (found.width_px, found.height_px) == (50_000, 50_000)
    assert "2,500,000,000 pixels" in (found.notes or "")


def test_a_docx_that_unpacks_to_gigabytes_is_over_the_limit() -> None:
    with pytest.raises(LimitExceeded, match="unpacks to"):
        probed(zip_bomb_docx(48 * 1024**2), "a.docx", Limits(max_unpacked_bytes=32 * 1024**2))


def test_an_encrypted_pdf_lands_and_says_so() -> None:
    from reportlab.lib.pdfencrypt import StandardEncryption

    data = documents.pdf([["secret"]], encrypt=StandardEncryption("open sesame"))
    found = probed(data, "a.pdf")
    assert (found.container, found.notes) == ("pdf", "encrypted with a password")


def test_macros_are_told() -> None:
    data = documents.replaced(documents.docx(["x"]), {"word/vbaProject.bin": b"\xcc\x61"})
    assert "macros" in (probed(data, "a.docx").notes or "")


def test_scripts_of_a_pdf_are_told() -> None:
    data = documents.pdf([["x"]])
    scripted = data.replace(b"%%EOF", b"% /JavaScript (app.alert)\n%%EOF")
    assert "scripts" in (probed(scripted, "a.pdf").notes or "")


def test_entities_of_an_svg_are_not_expanded() -> None:
    bomb = b'<!DOCTYPE svg [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><svg width="&b;" height="5">&b;</svg>'
    with contextlib.suppress(Damaged):
        assert probed(bomb, "a.svg").width_px is None


def test_capture_times_need_a_zone() -> None:
    def taken(**tags: str) -> bytes:
        from PIL import Image

        exif = Image.Exif()
        names = {"taken": 0x9003, "offset": 0x9011}
        exif.get_ifd(0x8769).update({names[key]: value for key, value in tags.items()})
        out = io.BytesIO()
        scene(1).save(out, "JPEG", exif=exif)
        return out.getvalue()

    known = probed(taken(taken="2026:03:01 10:00:00", offset="+02:00"), "a.jpg")
    assert known.captured_at_utc == datetime(2026, 3, 1, 8, tzinfo=UTC)
    unknown = probed(taken(taken="2026:03:01 10:00:00"), "a.jpg")
    assert unknown.captured_at_utc is None
    assert "without a zone" in (unknown.notes or "")


def test_the_time_of_a_mail_is_when_it_was_sent() -> None:
    data = b"Date: Sun, 01 Mar 2026 10:00:00 +0200\nSubject: x\nFrom: a@b\n\ntext"
    assert probed(data, "a.eml").captured_at_utc == datetime(2026, 3, 1, 8, tzinfo=UTC)


@pytest.fixture
def in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nine hours before UTC, as an executor may be."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_tokyo")
@pytest.mark.parametrize("zone", [" -0000", " GMT", ""])
def test_a_mail_that_names_no_zone_was_sent_in_utc(zone: str) -> None:
    data = f"Date: Sun, 01 Mar 2026 10:00:00{zone}\nSubject: x\nFrom: a@b\n\ntext".encode()
    assert probed(data, "a.eml").captured_at_utc == datetime(2026, 3, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "data",
    [
        b"P4\n8 2\n\x20\xff",
        b"P4 8 2 5 ",
        b"P5\n2 1\n255\n\n\n",
        b"P6 1 1 65535 \t\n 1 1",
    ],
)
def test_pixels_that_look_like_the_header_are_pixels(data: bytes) -> None:
    assert probed(data, "a.pnm").container is not None
    with pytest.raises(Damaged, match="cut off"):
        probed(data[:-1], "a.pnm")


@pytest.mark.timeout(30)
def test_no_length_is_looked_at_for_ever() -> None:
    assert _length_px(" 12.5 px ") == 12
    assert _length_px("12" + " " * 1_000_000 + "cm") is None
