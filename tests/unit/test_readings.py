"""Samples are the same however they are cut into frames, and small frames are resampled many at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from av import AudioFrame

from lake.media.readings import GATHERED_SAMPLES, Samples
from tests.support.analysis_media import tone

SOUND = tone(3.0, 440.0, 0.4, 8_000)


def frames(samples_each: int, rate_hz: int = 8_000) -> Iterator[AudioFrame]:
    for first in range(0, len(SOUND), samples_each):
        frame = AudioFrame.from_ndarray(SOUND[None, first : first + samples_each], "fltp", "mono")
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


def test_what_was_gathered_before_a_stream_changes_its_form_is_not_lost() -> None:
    reading = Samples(16_000, True, 30.0)
    for frame in frames(160):
        assert not list(reading.take(frame))
    with pytest.raises(ValueError, match="does not match"):  # PyAV resamples one form only
        blocks(reading, frames(160, rate_hz=44_100))
    assert sum(held.shape[1] for held in reading._held) == pytest.approx(2 * len(SOUND), abs=200)
