"""Spans of speech in audio, by a Silero voice-activity model: the one that faster-whisper carries, or a chosen one."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lake.analysis.base import Analysis
from lake.model import Media, Row
from lake.models.engines.silero import Silero
from lake.models.loaded import engine, engine_for, entry_of
from lake.models.resolve import BUILTIN

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
WINDOW = 512
"""Samples the model judges at a time (32 ms)."""
CONTEXT = 64
"""Samples of the window before that it looks back on."""

FIELDS = pa.schema([("probability", pa.float32())])

PARAMS: dict[str, Any] = {
    "threshold": 0.5,
    "end_threshold": 0.35,
    "min_silence_s": 0.3,
    "min_speech_s": 0.1,
    "pad_s": 0.03,
}


@dataclass
class Span:
    """Speech from one sample to another, with the mean of the model's probabilities in between."""

    start: int
    end: int
    probability: float


def run(media: Media, params: Mapping[str, Any]) -> Iterator[Row]:
    """One row a span of speech; nothing for a recording without sound or without speech."""
    from lake.media.decode import audio_blocks

    blocks = audio_blocks(media, sample_rate_hz=SAMPLE_RATE_HZ, mono=True)
    for span in speech_spans(blocks, params):
        yield {
            "start_s": span.start / SAMPLE_RATE_HZ,
            "end_s": span.end / SAMPLE_RATE_HZ,
            "probability": span.probability,
        }


def speech_spans(blocks: Iterable[NDArray[np.float32]], params: Mapping[str, Any]) -> Iterator[Span]:
    """Padded spans of speech in a stream of mono blocks at 16 kHz; the cut into blocks does not change the result."""
    spans = _Hysteresis(params)
    total = 0
    windows = _Windows(_vad(params))
    for block in blocks:
        total += len(block)
        for probability in windows.judge(block):
            spans.add(probability)
    for probability in windows.finish():
        spans.add(probability)
    yield from _padded(spans.finish(total), round(float(params["pad_s"]) * SAMPLE_RATE_HZ), total)


class _Windows:
    """Feeds the model window by window and carries its state over the seams of blocks."""

    def __init__(self, vad: Silero) -> None:
        self._vad = vad
        self._rest = np.zeros(0, np.float32)
        self._context = np.zeros((1, CONTEXT), np.float32)
        self._state = vad.initial()

    def judge(self, block: NDArray[np.float32]) -> list[float]:
        """Probabilities of speech of all windows that are complete with this block."""
        samples = np.concatenate([self._rest, block.astype(np.float32, copy=False)])
        complete = len(samples) // WINDOW * WINDOW
        self._rest = samples[complete:]
        return self._run(samples[:complete].reshape(-1, WINDOW))

    def finish(self) -> list[float]:
        """Probability of the last, unfilled window, padded with silence."""
        last = np.pad(self._rest, (0, WINDOW - len(self._rest)))
        self._rest = np.zeros(0, np.float32)
        return self._run(last.reshape(1, WINDOW))

    def _run(self, windows: NDArray[np.float32]) -> list[float]:
        if not len(windows):
            return []
        context = np.concatenate([self._context, windows[:-1, -CONTEXT:]])
        self._context = windows[-1:, -CONTEXT:].copy()
        found, self._state = self._vad.probabilities(np.concatenate([context, windows], axis=1), self._state)
        return found


class _Hysteresis:
    """Speech starts at ``threshold`` and ends after ``min_silence_s`` below ``end_threshold``, as in Silero's rule."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._start_at = float(params["threshold"])
        self._end_at = float(params["end_threshold"])
        self._min_silence = float(params["min_silence_s"]) * SAMPLE_RATE_HZ
        self._min_speech = float(params["min_speech_s"]) * SAMPLE_RATE_HZ
        self._position = 0
        self._start: int | None = None
        self._silent_from: int | None = None
        self._open: list[float] = []
        self._spans: list[Span] = []

    def add(self, probability: float) -> None:
        """The next window's probability."""
        here = self._position
        self._position += WINDOW
        if probability >= self._start_at:
            self._silent_from = None
            if self._start is None:
                self._start = here
        if self._start is None:
            return
        self._open.append(probability)
        if probability < self._end_at:
            if self._silent_from is None:
                self._silent_from = here
            if here - self._silent_from >= self._min_silence:
                self._close(self._silent_from)

    def finish(self, total: int) -> list[Span]:
        """All spans, the last one ended by the end of the recording."""
        if self._start is not None:
            self._close(total)
        return self._spans

    def _close(self, end: int) -> None:
        start = self._start or 0
        if end - start > self._min_speech:
            inside = self._open[: max(1, (end - start) // WINDOW)]
            self._spans.append(Span(start, end, float(np.mean(inside))))
        self._start = self._silent_from = None
        self._open = []


def _padded(spans: list[Span], pad: int, total: int) -> list[Span]:
    """Spans widened by ``pad`` on both sides; neighbours share a silence that is too short for both."""
    result = [Span(span.start, span.end, span.probability) for span in spans]
    for index, span in enumerate(spans):
        before = spans[index - 1].end if index else -2 * pad
        after = spans[index + 1].start if index + 1 < len(spans) else total + 2 * pad
        result[index].start = max(0, span.start - min(pad, (span.start - before) // 2))
        result[index].end = min(total, span.end + min(pad, (after - span.end) // 2))
    return result


@functools.cache
def _builtin() -> dict[str, str]:
    """The model while none was chosen."""
    model = BUILTIN["silero-vad"]()
    return entry_of(model, Path(model.place), "cpu")


def model_hash() -> str:
    """sha256 of the built-in model's file."""
    return _builtin()["model_hash"]


def _vad(params: Mapping[str, Any]) -> Silero:
    """The network, loaded once a process."""
    found = engine_for(params, "vad") if "models" in params else engine(_builtin())
    assert isinstance(found, Silero)  # noqa: S101  (its task was looked at when it was chosen)
    return found


SPEECH = Analysis(
    name="speech",
    version="1",
    media_kinds=("audio", "video"),
    piece=("start_s", "end_s"),
    fields=FIELDS,
    run=run,
    params=PARAMS,
    model_hash=model_hash,
    models={"vad": "builtin:silero-vad"},
    time_limit_s=900.0,
)
