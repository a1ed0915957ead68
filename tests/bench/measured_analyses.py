"""The analyses that the part ``compute`` measures, as a user's own file: ``lake analyze --module`` runs them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lake.analysis.base import Analysis
from lake.media.decode import audio_blocks, iter_video_frames
from lake.model import Media, Row

RATE_HZ, WINDOW, HOP, MELS = 16_000, 400, 160, 64


@functools.cache
def _filters() -> NDArray[np.float32]:
    """Triangles of equal width on the mel scale (HTK's formula), shape (mels, bins)."""
    edges_hz = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + RATE_HZ / 2 / 700), MELS + 2) / 2595) - 1)
    bins_hz = np.fft.rfftfreq(WINDOW, 1 / RATE_HZ)
    low, middle, high = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    return np.maximum(0, np.minimum((bins_hz - low) / (middle - low), (high - bins_hz) / (high - middle))).astype("f4")


def log_mel(media: Media, params: Mapping[str, Any]) -> Iterator[Row]:
    """Mean and deviation of the log-mel spectrum of a recording; nothing of one that is shorter than a window."""
    count, total, squares = 0, np.zeros(MELS), np.zeros(MELS)
    for block in audio_blocks(media, sample_rate_hz=RATE_HZ):
        if len(block) < WINDOW:
            continue
        frames = np.lib.stride_tricks.sliding_window_view(block, WINDOW)[::HOP] * np.hanning(WINDOW).astype(np.float32)
        power = np.abs(np.fft.rfft(frames, axis=1)).astype(np.float32) ** 2
        mels = np.log(power @ _filters().T + 1e-6).astype(np.float64)
        count, total, squares = count + len(mels), total + mels.sum(0), squares + np.square(mels).sum(0)
    if count:
        mean = total / count
        deviation = np.sqrt(np.maximum(0, squares / count - np.square(mean)))
        yield {"mel_mean": mean.tolist(), "mel_deviation": deviation.tolist()}


def frame_hash(media: Media, params: Mapping[str, Any]) -> Iterator[Row]:
    """A hash of a frame each half second."""
    from PIL import Image

    from lake.analysis.picture import perceptual_hashes

    for time_s, picture in iter_video_frames(media, every_s=float(params["every_s"])):
        yield {"start_s": time_s, "phash": perceptual_hashes(Image.fromarray(picture[:, :, ::-1].copy()))[0]}


LOG_MEL = Analysis(
    name="log_mel",
    version="1",
    media_kinds=("audio",),
    piece=(),
    fields=pa.schema([("mel_mean", pa.list_(pa.float32())), ("mel_deviation", pa.list_(pa.float32()))]),
    run=log_mel,
)
FRAME_HASH = Analysis(
    name="frame_hash",
    version="1",
    media_kinds=("video",),
    piece=("start_s",),
    fields=pa.schema([("phash", pa.string())]),
    run=frame_hash,
    params={"every_s": 0.5},
)
