"""Loudness of audio by span: dBFS, and LUFS after EBU R128; memory grows by 240 bytes a second of sound.

Weighting and gating are those of Recommendation ITU-R BS.1770-4 (annex 1) and EBU Tech 3341. The two filters of the
recommendation are given there for 48 kHz, so everything is measured at that rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lake.analysis.base import Analysis
from lake.model import Media, Row

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE_RATE_HZ = 48_000
STEP = SAMPLE_RATE_HZ // 10
"""Samples in 100 ms: momentary (400 ms) and short-term (3 s) loudness move by this."""
MOMENTARY_STEPS = 4
SHORT_TERM_STEPS = 30

K_WEIGHTING = np.array(
    [
        [1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585],
        [1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621],
    ]
)
"""The shelf for the head and the high pass, as second-order sections at 48 kHz: BS.1770-4, tables 1 and 2."""
ABSOLUTE_GATE_LUFS = -70.0
RELATIVE_GATE_LU = -10.0
SURROUND_WEIGHT = 1.41
"""Weight of the channels behind the listener, BS.1770-4 table 3; the low-frequency channel does not count."""
TINY = 1e-30
SILENT_POWER = 1e-13
"""Below this (about -130 LUFS) there is nothing but the ringing of the filters."""

FIELDS = pa.schema(
    [
        ("rms_dbfs", pa.float32()),
        ("peak_dbfs", pa.float32()),
        ("momentary_max_lufs", pa.float32()),
        ("short_term_max_lufs", pa.float32()),
        ("integrated_lufs", pa.float32()),
        ("recording_lufs", pa.float32()),
    ]
)

PARAMS: dict[str, Any] = {"span_s": 10.0}


def run(media: Media, params: Mapping[str, Any]) -> Iterator[Row]:
    """One row a span of ``span_s``; nothing for a recording without sound. Digital silence is null."""
    from lake.media.decode import audio_blocks

    blocks = audio_blocks(media, sample_rate_hz=SAMPLE_RATE_HZ, mono=False)
    yield from loudness_rows(blocks, float(params["span_s"]))


def loudness_rows(blocks: Iterable[NDArray[np.float32]], span_s: float) -> Iterator[Row]:
    """Rows for blocks of shape (channels, samples) at 48 kHz; the cut into blocks does not change the result."""
    meter = Meter()
    for block in blocks:
        meter.add(np.atleast_2d(block))
    yield from meter.rows(max(1, round(span_s * 10)))


class Meter:
    """Adds up energy by steps of 100 ms; spans, windows and gates are computed from the steps at the end."""

    def __init__(self) -> None:
        self._rest: NDArray[np.float32] | None = None
        self._state: NDArray[np.float64] | None = None
        self._samples = 0
        self._raw: list[NDArray[np.float64]] = []
        self._peaks: list[NDArray[np.float64]] = []
        self._weighted: list[NDArray[np.float64]] = []

    def add(self, block: NDArray[np.float32]) -> None:
        """The next samples, shape (channels, samples)."""
        self._samples += block.shape[1]
        if self._rest is not None and len(self._rest) == len(block):
            block = np.concatenate([self._rest, block], axis=1)
        whole = block.shape[1] // STEP * STEP
        self._rest = block[:, whole:].copy()
        if whole:
            self._measure(block[:, :whole], STEP)

    def _measure(self, samples: NDArray[np.float32], step: int) -> None:
        from scipy.signal import sosfilt

        channels = samples.shape[0]
        if self._state is None or self._state.shape[1] != channels:
            self._state = np.zeros((len(K_WEIGHTING), channels, 2))
        exact = samples.astype(np.float64)
        # What rings on in silence ends in denormal numbers, which are many times slower to compute with.
        self._state[np.abs(self._state) < TINY] = 0.0
        weighted, self._state = sosfilt(K_WEIGHTING, exact, axis=1, zi=self._state)
        power = np.square(weighted).reshape(channels, -1, step).mean(axis=2)
        self._weighted.append(_channel_weights(channels) @ power)
        self._raw.append(np.square(exact).reshape(channels, -1, step).mean(axis=(0, 2)))
        self._peaks.append(np.abs(exact).reshape(channels, -1, step).max(axis=(0, 2)))

    def rows(self, steps_per_span: int) -> Iterator[Row]:
        """One row a span; the last may be shorter, and what is left of its last 100 ms counts for dBFS, not LUFS."""
        complete = sum(map(len, self._weighted))
        lengths = np.full(complete, STEP)
        if self._rest is not None and self._rest.shape[1]:
            lengths = np.append(lengths, self._rest.shape[1])
            self._measure(self._rest, self._rest.shape[1])
        if not len(lengths):
            return
        raw, peaks = np.concatenate(self._raw), np.concatenate(self._peaks)
        power = np.concatenate(self._weighted)[:complete]
        momentary, short_term = _windows(power, MOMENTARY_STEPS), _windows(power, SHORT_TERM_STEPS)
        recording = _gated_lufs(momentary)
        for first in range(0, len(lengths), steps_per_span):
            last = first + steps_per_span
            part = slice(first, last)
            yield {
                "start_s": first * STEP / SAMPLE_RATE_HZ,
                "end_s": min(last * STEP, self._samples) / SAMPLE_RATE_HZ,
                "rms_dbfs": _dbfs(float(np.average(raw[part], weights=lengths[part])) ** 0.5),
                "peak_dbfs": _dbfs(float(peaks[part].max())),
                "momentary_max_lufs": _loudest(_ending_in(momentary, MOMENTARY_STEPS, first, last)),
                "short_term_max_lufs": _loudest(_ending_in(short_term, SHORT_TERM_STEPS, first, last)),
                "integrated_lufs": _gated_lufs(momentary[first : max(first, last - MOMENTARY_STEPS + 1)]),
                "recording_lufs": recording,
            }


def _channel_weights(channels: int) -> NDArray[np.float64]:
    """Weights in ffmpeg's channel order: mono, stereo and quadro count alike, in 5.1 the rear counts more."""
    weights = np.ones(channels)
    if channels >= 6:
        weights[3] = 0.0
        weights[4:] = SURROUND_WEIGHT
    return weights


def _windows(power: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """Mean power of every window of that many steps; window i begins with step i."""
    if len(power) < steps:
        return np.zeros(0)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(power, steps).mean(axis=1))


def _ending_in(windows: NDArray[np.float64], steps: int, first: int, last: int) -> NDArray[np.float64]:
    """The windows whose last step lies in [first, last)."""
    return windows[max(0, first - steps + 1) : max(0, last - steps + 1)]


def _lufs(power: float) -> float | None:
    return float(-0.691 + 10 * np.log10(power)) if power > SILENT_POWER else None


def _loudest(powers: NDArray[np.float64]) -> float | None:
    return _lufs(float(powers.max())) if len(powers) else None


def _gated_lufs(momentary: NDArray[np.float64]) -> float | None:
    """Integrated loudness of 400 ms blocks: those over -70 LUFS, then those over 10 LU below their mean."""
    loud = momentary[momentary > 10 ** ((ABSOLUTE_GATE_LUFS + 0.691) / 10)]
    if not len(loud):
        return None
    loud = loud[loud > loud.mean() * 10 ** (RELATIVE_GATE_LU / 10)]
    return _lufs(float(loud.mean()))


def _dbfs(amplitude: float) -> float | None:
    """Decibels below full scale; None for digital silence, which has no logarithm."""
    return float(20 * np.log10(amplitude)) if amplitude > 0 else None


LOUDNESS = Analysis(
    name="loudness",
    version="1",
    media_kinds=("audio", "video"),
    piece=("start_s", "end_s"),
    fields=FIELDS,
    run=run,
    params=PARAMS,
    time_limit_s=600.0,
)
