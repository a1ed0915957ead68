"""What an analysis reads of a decoded recording: pictures at times, samples in blocks. Works in the decoding child."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lake.errors import Damaged

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Reading(Protocol):
    """One reader's share of a stream; several may be served by one decode (``lake.media.streams.read``)."""

    kind: str
    """``video`` or ``audio``."""

    def begin(self, stream: Any) -> None:
        """Told the stream (PyAV's) before its first frame."""
        ...

    def take(self, frame: Any) -> Iterator[Any]:
        """What the reader gets for a frame (PyAV's)."""
        ...

    def end(self) -> Iterator[Any]:
        """What is left after the last frame."""
        ...

    def finished(self, item: Any) -> Any:
        """What the reader sees of an item: the work on it that needs no other item, done in the reader's thread."""
        ...


class Pictures:
    """Frames as (seconds from the start, height × width × 3 BGR, upright); see ``iter_video_frames``."""

    kind = "video"

    def __init__(
        self, every_s: float | None = None, keyframes_only: bool = False, within_px: int | None = None
    ) -> None:
        from av.video.reformatter import VideoReformatter

        self.keyframes_only = keyframes_only
        self._every_s = every_s
        self._within_px = within_px
        # One for all frames: to set a conversion up takes twice as long as to convert a frame of 640 x 360.
        self._reformatter = VideoReformatter()
        self._next_s = self._start_s = 0.0
        self._rate_hz = 25.0
        self._number = -1

    def begin(self, stream: Any) -> None:
        self._start_s = float((stream.start_time or 0) * stream.time_base)
        self._rate_hz = float(stream.average_rate or 25)

    def take(self, frame: Any) -> Iterator[tuple[float, Any]]:
        if self.keyframes_only and not frame.key_frame:
            return
        self._number += 1
        time_s = frame.time - self._start_s if frame.time is not None else self._number / self._rate_hz
        if self._every_s is not None and time_s < self._next_s:
            return
        self._next_s = time_s + (self._every_s or 0.0)
        yield time_s, frame

    def end(self) -> Iterator[tuple[float, Any]]:
        yield from ()

    def finished(self, item: tuple[float, Any]) -> tuple[float, NDArray[np.uint8]]:
        from av.error import FFmpegError

        time_s, frame = item
        width_px, height_px = within(frame.width, frame.height, self._within_px)
        try:
            picture = self._reformatter.reformat(frame, width_px, height_px, "bgr24", interpolation="AREA", threads=1)
            pixels: Any = picture.to_ndarray()
        except (FFmpegError, ValueError) as error:
            raise Damaged(f"a picture in {frame.format.name} cannot be converted: {error}") from error
        turns = _turns(frame)
        return time_s, np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _turns(frame: Any) -> int:
    """Quarter turns counterclockwise that make a frame upright, as its file says; one to be mirrored stays as it is."""
    # PyAV gives a matrix that turns nothing into anything (all zeros) as the lowest integer.
    turns = round(frame.rotation / 90) % 4 if abs(frame.rotation) <= 180 else 0
    return 0 if turns and _is_mirrored(frame) else turns


def _is_mirrored(frame: Any) -> bool:
    """Whether the matrix by which a frame is shown mirrors it too, which its angle does not tell."""
    from av.sidedata.sidedata import Type

    try:
        matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    except ValueError:  # beside it is data of a kind that PyAV does not know
        return False
    a, b, _, c, d = struct.unpack_from("=5i", bytes(matrix))
    return bool(a * d - b * c < 0)


def within(width_px: int, height_px: int, side_px: int | None) -> tuple[int, int]:
    """Width and height of a picture whose longer side is at most ``side_px``; never enlarged, no side below 1."""
    scale = 1.0 if side_px is None else min(1.0, side_px / max(width_px, height_px))
    return max(1, round(width_px * scale)), max(1, round(height_px * scale))


GATHERED_SAMPLES = 8192
"""Sounds come in frames of as few as 160 samples, and to resample and convert one costs the same for each."""


class Samples:
    """Samples in -1 … 1 as blocks of at most ``block_s``; see ``audio_blocks``.

    Sound may change its form midway: all blocks have the number of channels of the first frame.
    """

    kind = "audio"

    def __init__(self, sample_rate_hz: int, mono: bool, block_s: float) -> None:
        self._mono = mono
        self._rate_hz = sample_rate_hz
        self._block = int(block_s * sample_rate_hz)
        self._resampler = self._resampler_to("mono" if mono else None)
        self._gathered: Any = None
        self._form: tuple[str, str, int] | None = None
        self._held: list[NDArray[np.float32]] = []
        self._count = 0

    def begin(self, stream: Any) -> None:
        """Nothing depends on the stream: its first frame tells rate and layout."""

    def take(self, frame: Any) -> Iterator[NDArray[np.float32]]:
        from av.audio.fifo import AudioFifo

        # Time stamps of cut recordings jump; samples are counted instead.
        frame.pts = None
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self._form:
            if self._form is not None:
                # A resampler knows one form. Where nothing has to be converted it would not even say so.
                yield from self._flushed()
                layout = self._resampler.layout
                self._resampler = self._resampler_to(layout and layout.name)
            self._form, self._gathered = form, AudioFifo()
        self._gathered.write(frame)
        if self._gathered.samples >= GATHERED_SAMPLES:
            yield from self._resampled()

    def end(self) -> Iterator[NDArray[np.float32]]:
        yield from self._flushed()
        if self._count:
            joined = np.concatenate(self._held, axis=1)
            yield joined[0] if self._mono else joined

    def finished(self, item: NDArray[np.float32]) -> NDArray[np.float32]:
        return item

    def _resampler_to(self, layout: str | None) -> Any:
        """A resampler to this layout; None is that of its first frame."""
        from av.audio.resampler import AudioResampler

        return AudioResampler(format="fltp", layout=layout, rate=self._rate_hz)

    def _flushed(self) -> Iterator[NDArray[np.float32]]:
        """Blocks that become full by what was gathered and by what the resampler holds back."""
        yield from self._resampled()
        yield from self._blocks(self._resampler.resample(None))

    def _resampled(self) -> Iterator[NDArray[np.float32]]:
        """Blocks that become full by what was gathered."""
        if self._gathered is not None and self._gathered.samples:
            frame = self._gathered.read(0)
            frame.pts = None
            yield from self._blocks(self._resampler.resample(frame))

    def _blocks(self, resampled: Any) -> Iterator[NDArray[np.float32]]:
        for out in resampled:
            samples = finite(out.to_ndarray())
            self._held.append(samples)
            self._count += samples.shape[1]
            while self._count >= self._block:
                joined = np.concatenate(self._held, axis=1)
                yield joined[0, : self._block] if self._mono else joined[:, : self._block]
                self._held, self._count = [joined[:, self._block :]], self._count - self._block


def finite(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Silence for samples that are no numbers or infinite: one would spoil all that a network hears after it."""
    return samples if np.isfinite(samples).all() else np.nan_to_num(samples, posinf=0.0, neginf=0.0)
