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

from lake.errors import Damaged, RecordError
from lake.media.demuxers import NO_REFERENCES, RAW_OPTIONS, demuxer
from lake.media.readings import Pictures, Reading, Samples
from lake.model import Media

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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


def iter_video_frames(
    media: Media, every_s: float | None = None, keyframes_only: bool = False, within_px: int | None = None
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Frames as (seconds from the start, height × width × 3 BGR), upright, in order, one at a time.

    ``every_s`` gives the first frame of each such span; ``keyframes_only`` decodes nothing between key frames;
    ``within_px`` shrinks frames whose longer side is longer, by the mean of what falls together: cheaper than a frame
    that is shrunk later.
    Attached pictures (cover art) are no video. A stream that breaks off after frames ends there; one without any
    readable frame is ``Damaged``.
    """
    yield from _read_one(media, Pictures(every_s, keyframes_only, within_px))


def audio_blocks(
    media: Media, sample_rate_hz: int = 16000, mono: bool = True, block_s: float = 30.0
) -> Iterator[NDArray[np.float32]]:
    """Samples in -1 … 1 as blocks of at most ``block_s``: shape (samples,) when mono, else (channels, samples)."""
    yield from _read_one(media, Samples(sample_rate_hz, mono, block_s))


def _read_one(media: Media, reading: Reading) -> Iterator[Any]:
    joined = media.shared.join(reading) if media.shared is not None else None
    if joined is not None:
        yield from joined
        return
    from lake.media.streams import read

    with opened(media) as container:
        for _, item in read(container, [reading], media.threads):
            if isinstance(item, RecordError):
                raise item
            yield reading.finished(item)
