"""Decoded frames and samples of a recording, as streams of bounded memory. Works in the decoding child.

The container's format comes from the content type that was sniffed, and the bytes come through a file object: there is
no protocol, so a script of ffmpeg's, a playlist or a reference to another file can open nothing.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from lake.errors import Damaged, RecordError, Unsupported
from lake.model import Media

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMATS = {
    "audio/x-wav": "wav",
    "audio/wav": "wav",
    "audio/vnd.wave": "wav",
    "audio/flac": "flac",
    "audio/x-flac": "flac",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "video/ogg": "ogg",
    "application/ogg": "ogg",
    "audio/x-gsm": "gsm",
    "audio/L16": "s16le",
    "audio/G722": "g722",
    "audio/aac": "aac",
    "audio/x-aiff": "aiff",
    "audio/aiff": "aiff",
    "audio/basic": "au",
    "audio/amr": "amr",
    "audio/mp4": "mp4",
    "audio/x-m4a": "mp4",
    "audio/x-ms-wma": "asf",
    "audio/x-matroska": "matroska",
    "audio/webm": "matroska",
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/3gpp": "mp4",
    "video/x-m4v": "mp4",
    "video/x-msvideo": "avi",
    "video/avi": "avi",
    "video/x-matroska": "matroska",
    "video/webm": "matroska",
    "video/mpeg": "mpeg",
    "video/mp2t": "mpegts",
    "video/x-flv": "flv",
    "video/x-ms-asf": "asf",
    "video/x-ms-wmv": "asf",
}
"""ffmpeg's demuxer by content type. Playlists and scripts (hls, dash, concat) have none."""

RAW_OPTIONS = {
    "s16le": {"sample_rate": "16000", "ch_layout": "mono"},
    "gsm": {"sample_rate": "8000"},
    "g722": {"sample_rate": "16000"},
}
"""What headerless formats do not say."""

NO_REFERENCES = {"enable_drefs": "0", "use_absolute_path": "0"}


def demuxer(content_type: str, stream: BinaryIO) -> str:
    """ffmpeg's demuxer for a content; raises ``Unsupported`` where there is none."""
    name = FORMATS.get(content_type.split(";")[0])
    if name is None:
        raise Unsupported(f"{content_type} is not decoded here")
    if name == "mpeg":
        start = stream.read(4)
        stream.seek(0)
        # A sequence header comes first where there is video alone, without a system stream around it.
        return "mpegvideo" if start == b"\x00\x00\x01\xb3" else name
    return name


@contextlib.contextmanager
def opened(media: Media) -> Iterator[Any]:
    """A PyAV container over the bytes of a recording; decoder errors inside become ``Damaged``."""
    import av
    from av.error import FFmpegError

    with _stream(media) as stream:
        name = demuxer(media.content_type, stream)
        options = dict(RAW_OPTIONS.get(name, {})) | (NO_REFERENCES if name in ("mp4", "mov") else {})
        try:
            with av.open(stream, "r", format=name, options=options, metadata_errors="replace") as container:
                yield container
        except FFmpegError as error:
            raise Damaged(f"cannot be decoded as {name}: {error.strerror or error}") from error


@contextlib.contextmanager
def _stream(media: Media) -> Iterator[BinaryIO]:
    if media.data is not None:
        yield io.BytesIO(media.data)
    elif media.path is not None:
        with Path(media.path).open("rb") as stream:
            yield stream
    else:
        raise RecordError("no bytes to decode")


def has_audio(media: Media) -> bool:
    """Whether there is an audio stream."""
    with opened(media) as container:
        return bool(container.streams.audio)


def iter_video_frames(
    media: Media, every_s: float | None = None, keyframes_only: bool = False
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Frames as (seconds from the start, height × width × 3 BGR), in order, one at a time.

    ``every_s`` gives the first frame of each such span; ``keyframes_only`` decodes nothing between key frames.
    Attached pictures (cover art) are no video. A stream that breaks off after frames ends there; one without any
    readable frame is ``Damaged``.
    """
    with opened(media) as container:
        stream = next((s for s in container.streams.video if not attached(s)), None)
        if stream is None:
            return
        stream.thread_type = "NONE"
        if keyframes_only:
            stream.codec_context.skip_frame = "NONKEY"
        start_s = float((stream.start_time or 0) * stream.time_base)
        rate_hz = float(stream.average_rate or 25)
        next_s = 0.0
        for number, frame in enumerate(_frames(container, stream)):
            time_s = frame.time - start_s if frame.time is not None else number / rate_hz
            if every_s is not None and time_s < next_s:
                continue
            next_s = time_s + (every_s or 0.0)
            yield time_s, frame.to_ndarray(format="bgr24")


def audio_blocks(
    media: Media, sample_rate_hz: int = 16000, mono: bool = True, block_s: float = 30.0
) -> Iterator[NDArray[np.float32]]:
    """Samples in -1 … 1 as blocks of at most ``block_s``: shape (samples,) when mono, else (channels, samples)."""
    from av.audio.resampler import AudioResampler

    block = int(block_s * sample_rate_hz)
    with opened(media) as container:
        if not container.streams.audio:
            return
        stream = container.streams.audio[0]
        resampler = AudioResampler(format="fltp", layout="mono" if mono else None, rate=sample_rate_hz)
        held: list[NDArray[np.float32]] = []
        count = 0
        for samples in _resampled(_frames(container, stream), resampler):
            held.append(samples)
            count += samples.shape[1]
            while count >= block:
                joined = np.concatenate(held, axis=1)
                yield joined[0, :block] if mono else joined[:, :block]
                held, count = [joined[:, block:]], count - block
        if count:
            joined = np.concatenate(held, axis=1)
            yield joined[0] if mono else joined


def _resampled(frames: Iterator[Any], resampler: Any) -> Iterator[NDArray[np.float32]]:
    for frame in frames:
        # Time stamps of cut recordings jump; samples are counted instead.
        frame.pts = None
        for out in resampler.resample(frame):
            yield out.to_ndarray()
    with contextlib.suppress(ValueError):
        for out in resampler.resample(None):
            yield out.to_ndarray()


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    """Frames of one stream. Damaged packets are passed over; no frame at all is ``Damaged``."""
    from av.error import EOFError as EndOfFile
    from av.error import FFmpegError

    given = 0
    last: Exception | None = None
    try:
        for packet in container.demux(stream):
            try:
                for frame in packet.decode():
                    given += 1
                    yield frame
            except EndOfFile:
                break
            except FFmpegError as error:
                last = error
    except FFmpegError as error:
        last = error
    if not given and last is not None:
        raise Damaged(f"no frame of the {stream.type} can be decoded: {last}") from last


def attached(stream: Any) -> bool:
    """Whether a video stream is only a cover picture."""
    with contextlib.suppress(AttributeError):
        return bool(int(stream.disposition) & 0x400)
    return False
