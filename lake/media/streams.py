"""One decode of a container for several readings of its streams. Works in the decoding child."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from av.error import EOFError as EndOfFile
from av.error import FFmpegError

from lake.errors import Damaged
from lake.media.demuxers import attached
from lake.media.foreign import as_record_error
from lake.media.readings import Pictures, Reading

SMALL_PIXELS = 640 * 480
"""Frames up to this size are decoded by one thread: what reads them has the other cores. Two threads of libav's take a
tenth less time for such frames, and 40 % more of the processors."""


def read(container: Any, readings: Sequence[Reading], threads: int = 1) -> Iterator[tuple[Reading, Any]]:
    """Decode once for several readings: each with what it gets, in the order of the container.

    A reading whose stream is not there gets nothing. Damaged packets are passed over; where no frame at all of its
    stream can be decoded, a reading gets a ``Damaged`` as its last item, and one that fails itself gets its own error.
    The frames are the same by any number of ``threads``, which libav then decodes video of large frames with.
    """
    streams = [
        _Open(stream, [reading for reading in readings if reading.kind == kind], threads)
        for kind, stream in (("video", _video(container)), ("audio", next(iter(container.streams.audio), None)))
        if stream is not None and any(reading.kind == kind for reading in readings)
    ]
    if not streams:
        return
    by_index = {each.stream.index: each for each in streams}
    try:
        for packet in container.demux([each.stream for each in streams]):
            yield from by_index[packet.stream.index].decoded(packet)
            if all(each.ended for each in streams):
                break
    except FFmpegError as error:
        for each in streams:
            each.last = error
    for each in streams:
        yield from each.finished()


class _Open:
    """One stream of an open container, and who reads it."""

    def __init__(self, stream: Any, readings: list[Reading], threads: int) -> None:
        self.stream = stream
        self.readings = readings
        self.ended = False
        self.last: Exception | None = None
        self._given = 0
        if stream.type == "video":
            codec = stream.codec_context
            threads = threads if codec.width * codec.height > SMALL_PIXELS else 1
            stream.thread_type = "AUTO" if threads > 1 else "NONE"
            codec.thread_count = threads
            if all(isinstance(reading, Pictures) and reading.keyframes_only for reading in readings):
                codec.skip_frame = "NONKEY"
        for reading in readings:
            reading.begin(stream)

    def decoded(self, packet: Any) -> Iterator[tuple[Reading, Any]]:
        if self.ended:
            return
        try:
            frames = packet.decode()
        except EndOfFile:
            self.ended = True
            return
        except FFmpegError as error:
            self.last = error
            return
        for frame in frames:
            self._given += 1
            for reading in list(self.readings):
                yield from self._made(reading, reading.take(frame))

    def finished(self) -> Iterator[tuple[Reading, Any]]:
        nothing = self._given == 0 and self.last is not None
        for reading in list(self.readings):
            yield from self._made(reading, reading.end())
            if nothing:
                yield reading, Damaged(f"no frame of the {self.stream.type} can be decoded: {self.last}")

    def _made(self, reading: Reading, items: Iterator[Any]) -> Iterator[tuple[Reading, Any]]:
        """What a reading makes; where it fails, the error is its last item, and the others go on."""
        try:
            for item in items:
                yield reading, item
        except MemoryError:  # which is short for all of them
            raise
        except Exception as error:
            self.readings.remove(reading)
            yield reading, as_record_error(error)


def _video(container: Any) -> Any:
    return next((stream for stream in container.streams.video if not attached(stream)), None)
