"""Voice activity: known spans, seams between blocks, the rule for starts and ends, and the library's own result."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from lake.analysis.speech import PARAMS, SAMPLE_RATE_HZ, WINDOW, _Hysteresis, model_hash, speech_spans
from tests.support.analysis_media import blocks, silence, tone, voice


@pytest.fixture(scope="module")
def talk() -> NDArray[np.float32]:
    """Two voices: from 2 to 4 s and from 6 to 7.5 s of 8.5 s."""
    return np.concatenate([silence(2), voice(2), silence(2), voice(1.5, pitch_hz=200), silence(1)])


def spans_s(samples: NDArray[np.float32], size: int) -> list[tuple[float, float]]:
    return [
        (span.start / SAMPLE_RATE_HZ, span.end / SAMPLE_RATE_HZ) for span in speech_spans(blocks(samples, size), PARAMS)
    ]


def test_finds_the_spans_that_were_made(talk: NDArray[np.float32]) -> None:
    found = spans_s(talk, len(talk))
    assert np.allclose(found, [(2, 4), (6, 7.5)], atol=0.15)
    assert all(0.4 < span.probability <= 1 for span in speech_spans([talk], PARAMS))


@pytest.mark.parametrize("size", [1, 160, 511, 512, 7777, 32_000])
def test_the_cut_into_blocks_changes_nothing(talk: NDArray[np.float32], size: int) -> None:
    part = talk[int(1.5 * SAMPLE_RATE_HZ) : int(2.5 * SAMPLE_RATE_HZ)] if size == 1 else talk
    assert spans_s(part, size) == spans_s(part, len(part))


def test_agrees_with_the_whole_file_function_of_faster_whisper(talk: NDArray[np.float32]) -> None:
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    options = VadOptions(
        threshold=PARAMS["threshold"],
        neg_threshold=PARAMS["end_threshold"],
        min_silence_duration_ms=int(PARAMS["min_silence_s"] * 1000),
        min_speech_duration_ms=int(PARAMS["min_speech_s"] * 1000),
        speech_pad_ms=int(PARAMS["pad_s"] * 1000),
    )
    expected = [(span["start"], span["end"]) for span in get_speech_timestamps(talk.copy(), options)]
    assert [(span.start, span.end) for span in speech_spans(blocks(talk, 5000), PARAMS)] == expected


def test_tones_noise_silence_and_nothing_are_not_speech() -> None:
    assert spans_s(tone(2, 440, 0.3), 32_000) == []
    assert spans_s(np.zeros(32_000, np.float32), 32_000) == []
    assert spans_s(silence(2, level=0.05), 32_000) == []
    assert list(speech_spans([], PARAMS)) == []


def test_speech_ends_only_after_enough_silence() -> None:
    silent_windows = int(PARAMS["min_silence_s"] * SAMPLE_RATE_HZ / WINDOW) + 2
    short, long = [0.1] * (silent_windows // 2), [0.1] * silent_windows
    probabilities = [0.9] * 10 + short + [0.9] * 10 + long + [0.4] * 5 + [0.9] * 10
    rule = _Hysteresis(PARAMS)
    for probability in probabilities:
        rule.add(probability)
    first, second = rule.finish(len(probabilities) * WINDOW)
    assert (first.start, first.end) == (0, (20 + len(short)) * WINDOW)
    assert (second.start, second.end) == ((25 + len(short) + len(long)) * WINDOW, len(probabilities) * WINDOW)
    assert second.probability == pytest.approx(0.9)


def test_model_hash_is_the_sha256_of_the_packaged_file() -> None:
    from faster_whisper.vad import get_assets_path

    with open(f"{get_assets_path()}/silero_vad_v6.onnx", "rb") as file:
        assert model_hash() == hashlib.sha256(file.read()).hexdigest()
