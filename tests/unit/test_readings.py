"""Samples are the same however they are cut into frames, and small frames are resampled many; pictures are upright."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from av import AudioFrame, AudioLayout

from lake.media.decode import iter_video_frames
from lake.media.readings import GATHERED_SAMPLES, Samples
from lake.model import Media
from tests.support.analysis_media import mp4, scene, tone

SOUND = tone(3.0, 440.0, 0.4, 8_000)


def frames(samples_each: int, rate_hz: int = 8_000, layout: str = "mono") -> Iterator[AudioFrame]:
    sound = np.repeat(SOUND[None], AudioLayout(layout).nb_channels, axis=0)
    for first in range(0, len(SOUND), samples_each):
        samples = np.ascontiguousarray(sound[:, first : first + samples_each])
        frame = AudioFrame.from_ndarray(samples, "fltp", layout)
        frame.sample_rate = rate_hz
        yield frame


def blocks(reading: Samples, *streams: Iterator[AudioFrame]) -> list[Any]:
    found = [block for stream in streams for frame in stream for block in reading.take(frame)]
    return found + list(reading.end())


@pytest.mark.parametrize("samples_each", [160, 1024, 20_000])
@pytest.mark.parametrize(("rate_hz", "mono"), [(16_000, True), (8_000, False), (11_025, True)])
def test_the_cut_into_frames_changes_nothing(samples_each: int, rate_hz: int, mono: bool) -> None:
    whole = blocks(Samples(rate_hz, mono, 1.0), frames(len(SOUND)))
    cut = blocks(Samples(rate_hz, mono, 1.0), frames(samples_each))
    assert len(whole) == len(cut) == pytest.approx(3, abs=1)
    assert all(np.array_equal(one, other) for one, other in zip(whole, cut, strict=True))


def test_small_frames_are_resampled_together() -> None:
    calls = []

    class Counting:
        def __init__(self, real: Any) -> None:
            self.real = real

        def resample(self, frame: AudioFrame | None) -> Any:
            calls.append(frame)
            return self.real.resample(frame)

    reading = Samples(16_000, True, 30.0)
    reading._resampler = Counting(reading._resampler)  # type: ignore[assignment]
    blocks(reading, frames(160))
    assert len(calls) <= 2 + len(SOUND) // GATHERED_SAMPLES


def loudest_hz(samples: Any, rate_hz: int, begin_s: float) -> int:
    """The loudest frequency in the second that begins there."""
    begin = round(begin_s * rate_hz)
    return int(np.argmax(np.abs(np.fft.rfft(samples[begin : begin + rate_hz]))))


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000])
@pytest.mark.parametrize("layouts", [("mono", "mono"), ("mono", "stereo"), ("stereo", "mono"), ("stereo", "5.1")])
def test_sound_that_changes_its_form_midway_is_read_to_its_end(rate_hz: int, layouts: tuple[str, str]) -> None:
    """At 8 kHz the first part needs no conversion. The second has the same samples at twice the rate: an octave up."""
    first, then = layouts
    parts = frames(160, 8_000, first), frames(160, 16_000, then), frames(160, 8_000, first)
    (samples,) = blocks(Samples(rate_hz, False, 30.0), *parts)
    assert samples.shape == (1 + (first == "stereo"), pytest.approx(7.5 * rate_hz, abs=50))
    for channel in samples:
        assert [loudest_hz(channel, rate_hz, begin_s) for begin_s in (1, 3.25, 5.5)] == [440, 880, 440]


def test_of_several_forms_mono_blocks_are_made() -> None:
    parts = frames(160), frames(160, 44_100, "stereo"), frames(160, 8_000, "5.1")
    found = blocks(Samples(16_000, True, 1.0), *parts)
    assert {block.shape for block in found[:-1]} == {(16_000,)}
    assert sum(map(len, found)) == pytest.approx(16_000 * (3 + len(SOUND) / 44_100 + 3), abs=50)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
def test_samples_that_are_no_numbers_are_taken_for_silence(rate_hz: int) -> None:
    (whole,) = blocks(Samples(rate_hz, True, 30.0), frames(160))
    hurt = list(frames(160))
    for number, worth in ((20, np.nan), (70, np.inf), (120, -np.inf)):
        np.frombuffer(hurt[number].planes[0], np.float32)[80] = worth  # type: ignore[call-overload]
    (found,) = blocks(Samples(rate_hz, True, 30.0), iter(hurt))
    assert np.isfinite(found).all()
    assert len(found) == len(whole) and (found != whole).sum() < 0.01 * len(whole)


@pytest.mark.parametrize("within_px", [None, 64])
@pytest.mark.parametrize(
    ("matrix", "turns"),
    [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1), ((0, 0, 0, 0), 0), ((-1, 0, 0, 1), 0)],
    ids=["clockwise", "half", "counterclockwise", "no matrix", "mirrored"],
)
def test_pictures_are_upright(matrix: tuple[int, int, int, int], turns: int, within_px: int | None) -> None:
    """A phone films as its sensor lies, and says in the file how the picture is to be turned."""

    def read(matrix: tuple[int, int, int, int]) -> list[Any]:
        film = Media("0" * 64, "video/mp4", "video", data=mp4([np.asarray(scene(3, 128, 96))] * 3, matrix))
        return [picture for _, picture in iter_video_frames(film, within_px=within_px)]

    found, lying = read(matrix), read((1, 0, 0, 1))
    assert len(found) == len(lying) == 3
    for picture, before in zip(found, lying, strict=True):
        assert np.array_equal(picture, np.rot90(before, turns)) and picture.flags.c_contiguous
