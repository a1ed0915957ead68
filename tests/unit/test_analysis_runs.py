"""The analyses of sound and moving pictures on encoded recordings, from bytes and from files."""

from __future__ import annotations

from pathlib import Path

import msgpack
import numpy as np
import pytest

from lake.analysis.registry import ANALYSES
from lake.errors import Damaged
from lake.model import Media, MediaKind, Row
from tests.support.analysis_media import avi, scene, silence, tone, voice, wav

TALK = np.concatenate([silence(1), voice(2), silence(2)])
WAV, AVI = "audio/x-wav", "video/x-msvideo"


def rows(analysis: str, data: bytes, content_type: str) -> list[Row]:
    kind: MediaKind = "video" if content_type.startswith("video") else "audio"
    found = list(ANALYSES[analysis].run(Media("", content_type, kind, data=data), ANALYSES[analysis].params))
    msgpack.packb(found)  # how rows leave the decoding child: no numbers of numpy
    assert all(set(row) == {*ANALYSES[analysis].piece, *ANALYSES[analysis].fields.names} for row in found)
    return found


@pytest.fixture(scope="module")
def film() -> bytes:
    """4 s: two scenes of 2 s, with a voice from 1 to 3 s."""
    pictures = [np.asarray(scene(20 + number // 50))[:, :, ::-1].copy() for number in range(100)]
    return avi(pictures, sound=TALK[: 4 * 16_000])


def test_speech_in_a_wav_at_another_rate_and_in_a_film(film: bytes) -> None:
    stereo_8_khz = np.stack([TALK[::2], TALK[::2]])
    for found in (
        rows("speech", wav(TALK), WAV),
        rows("speech", wav(stereo_8_khz, 8000), WAV),
        rows("speech", film, AVI),
    ):
        (span,) = found
        assert (span["start_s"], span["end_s"]) == (pytest.approx(1, abs=0.15), pytest.approx(3, abs=0.15))


def test_loudness_of_a_stereo_wav_does_not_depend_on_its_sample_rate() -> None:
    for rate_hz in (8000, 44_100, 48_000):
        left = tone(12, 1000, 10 ** (-23 / 20), rate_hz)
        first, second = rows("loudness", wav(np.stack([left, left]), rate_hz), WAV)
        assert first["recording_lufs"] == pytest.approx(-23, abs=0.15)
        assert first["rms_dbfs"] == pytest.approx(-26, abs=0.1)
        assert (first["end_s"], second["end_s"]) == (10, pytest.approx(12, abs=0.01))


def test_shots_of_a_film(film: bytes, tmp_path: Path) -> None:
    first, second = rows("keyframes", film, AVI)
    assert (first["start_s"], first["end_s"], second["end_s"]) == (0, pytest.approx(2), pytest.approx(4))
    assert first["frame"] < 50 <= second["frame"]
    (tmp_path / "film").write_bytes(film)
    media = Media("", AVI, "video", path=str(tmp_path / "film"))
    assert list(ANALYSES["keyframes"].run(media, ANALYSES["keyframes"].params)) == [first, second]


def test_a_film_without_sound_has_neither_speech_nor_loudness() -> None:
    mute = avi([np.zeros((64, 64, 3), np.uint8)] * 5)
    assert rows("speech", mute, AVI) == rows("loudness", mute, AVI) == []
    assert len(rows("keyframes", mute, AVI)) == 1


def test_a_wav_without_samples_has_no_rows() -> None:
    empty = wav(np.zeros(0, np.float32))
    assert rows("speech", empty, WAV) == rows("loudness", empty, WAV) == []


@pytest.mark.parametrize(("analysis", "content_type"), [("speech", WAV), ("loudness", WAV), ("keyframes", AVI)])
def test_random_bytes_are_damaged(analysis: str, content_type: str) -> None:
    with pytest.raises(Damaged):
        rows(analysis, np.random.default_rng(0).bytes(5000), content_type)


def test_every_analysis_declares_what_a_table_needs() -> None:
    plain = {"document_text", "keyframes", "speech", "loudness", "image_hash"}
    assert set(ANALYSES) == plain | {"transcript", "text_embedding", "image_labels"}
    for name, analysis in ANALYSES.items():
        assert analysis.name == name and analysis.table == f"feature_{name}"
        assert len(set(analysis.schema.names)) == len(analysis.schema.names)
        assert analysis.key().params_hash and analysis.time_limit_s > 0
