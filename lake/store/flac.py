"""WAV recordings as FLAC, exactly: the samples compressed, everything else of the file kept beside them. Pure.

What is written is an ordinary FLAC file (RFC 9639) that any player knows. The chunks of the WAV file lie in it as
APPLICATION blocks named ``riff``, the way of the reference tool's ``--keep-foreign-metadata``: that tool gives the
recording's own bytes back too.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from lake.errors import IntegrityError

if TYPE_CHECKING:
    import numpy as np

NAME = "flac"
CHUNK = struct.Struct("<4sI")
FORMAT = struct.Struct("<HHIIHH")
FORMAT_PCM, FORMAT_EXTENSIBLE = 1, 0xFFFE
PCM_SUBFORMAT = bytes.fromhex("0100000000001000800000aa00389b71")
"""KSDATAFORMAT_SUBTYPE_PCM, as WAVE_FORMAT_EXTENSIBLE names it."""
BLOCK_STREAMINFO, BLOCK_APPLICATION, LAST_BLOCK = 0, 2, 0x80
MARKER, RIFF = b"fLaC", b"riff"
MAX_KEPT_BYTES = 1 << 20
"""Of what is not samples in a WAV file: more is no recording."""
SAMPLES_AT_ONCE = 1 << 16
IN_MEMORY_BYTES = 16 * 1024**2
COPIED_AT_ONCE = 1 << 20
LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")
"""What FLAC takes a number of channels for (RFC 9639, section 9.1.3); the samples are the same by any name."""
COMPRESSION_LEVEL = "8"


class _Wave(NamedTuple):
    """Where the samples of a WAV file lie, and all that is not samples."""

    channels: int
    rate_hz: int
    bits: int
    kept: list[bytes]
    """The file's header, then each chunk with its header and padding; of ``data`` its header alone."""
    data_at: int
    data_bytes: int


def encode(source: BinaryIO, sink: BinaryIO, dictionary: bytes | None = None) -> bool:
    """Write a WAV file as FLAC; False where it would not come back exactly (floats, 8 bits, a file that is cut off)."""
    import av

    wave = _parsed(source)
    if wave is None:
        return False
    with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as encoded:
        try:
            with av.open(encoded, "w", format="flac", options={"fflags": "+bitexact"}) as out:
                stream = cast(Any, out.add_stream("flac", rate=wave.rate_hz))
                stream.layout = LAYOUTS[wave.channels - 1]
                stream.format = "s16" if wave.bits == 16 else "s32"
                stream.codec_context.options = {"compression_level": COMPRESSION_LEVEL}
                for frame in _frames(source, wave):
                    out.mux(stream.encode(frame))
                out.mux(stream.encode(None))
        except (av.FFmpegError, ValueError):
            return False
        encoded.seek(0)
        blocks = dict(_blocks(cast(BinaryIO, encoded)))
        sink.write(MARKER + _block(BLOCK_STREAMINFO, blocks[BLOCK_STREAMINFO]))
        for at, kept in enumerate(wave.kept):
            last = LAST_BLOCK if at == len(wave.kept) - 1 else 0
            sink.write(_block(BLOCK_APPLICATION | last, RIFF + kept))
        while copied := encoded.read(COPIED_AT_ONCE):
            sink.write(copied)
    return True


def decode(source: BinaryIO, dictionary: object = None) -> Iterator[bytes]:
    """The bytes of the WAV file, in pieces; ``IntegrityError`` where the source is nothing that ``encode`` wrote."""
    import av

    kept = [body[len(RIFF) :] for kind, body in _blocks(source) if kind == BLOCK_APPLICATION and body[:4] == RIFF]
    data = next((at for at, chunk in enumerate(kept) if at and chunk[:4] == b"data"), None)
    if data is None:
        raise IntegrityError("a FLAC file without the chunks of its recording")
    bits = next((FORMAT.unpack_from(chunk, 8)[5] for chunk in kept[1:] if chunk[:4] == b"fmt "), 16)
    yield b"".join(kept[: data + 1])
    source.seek(0)
    try:
        with av.open(source, "r", format="flac") as media:
            for frame in media.decode(audio=0):
                yield _bytes(frame.to_ndarray(), frame.format.is_planar, bits)
    except av.FFmpegError as error:
        raise IntegrityError(f"a FLAC file that cannot be decoded: {error}") from error
    padding = CHUNK.unpack_from(kept[data])[1] % 2
    yield bytes(padding) + b"".join(kept[data + 1 :])


def _parsed(source: BinaryIO) -> _Wave | None:
    """The parts of a WAV file of whole chunks, 16 or 24 bits; None for all else."""
    size = source.seek(0, 2)
    source.seek(0)
    head = source.read(12)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE" or CHUNK.unpack_from(head)[1] != size - 8:
        return None
    kept, form, data, at = [head], None, None, 12
    while at < size:
        source.seek(at)
        header = source.read(CHUNK.size)
        if len(header) < CHUNK.size:
            return None
        name, length = CHUNK.unpack(header)
        padded = length + length % 2
        if name == b"data" and data is None:
            data = at + CHUNK.size, length
            kept.append(header)
            padding = _at(source, at + CHUNK.size + length, length % 2)
        elif name == b"data" or sum(map(len, kept)) + padded > MAX_KEPT_BYTES:
            return None
        else:
            body = source.read(padded)
            form = body if name == b"fmt " and form is None else form
            kept.append(header + body)
            padding = body[length:]
        at += CHUNK.size + padded
        if at > size or padding.strip(b"\0"):
            return None
    described = _format(form)
    if described is None or data is None or data[1] % (described[0] * described[2] // 8):
        return None
    return _Wave(*described, kept, *data)


def _at(source: BinaryIO, at: int, length: int) -> bytes:
    source.seek(at)
    return source.read(length)


def _format(form: bytes | None) -> tuple[int, int, int] | None:
    """Channels, rate and bits of PCM that FLAC holds."""
    if form is None or len(form) < FORMAT.size:
        return None
    tag, channels, rate_hz, _, align, bits = FORMAT.unpack_from(form)
    if tag == FORMAT_EXTENSIBLE and form[24:40] == PCM_SUBFORMAT and form[18:20] == form[14:16]:
        tag = FORMAT_PCM
    held = tag == FORMAT_PCM and bits in (16, 24) and 1 <= channels <= len(LAYOUTS) and align == channels * bits // 8
    return (channels, rate_hz, bits) if held and rate_hz else None


def _frames(source: BinaryIO, wave: _Wave) -> Iterator[Any]:
    import av
    import numpy as np

    source.seek(wave.data_at)
    left = wave.data_bytes
    sample_bytes = wave.channels * wave.bits // 8
    while left:
        data = source.read(min(left, SAMPLES_AT_ONCE * sample_bytes))
        left -= len(data)
        if wave.bits == 16:
            samples = np.frombuffer(data, "<i2")
        else:
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            samples = wide.view("<i4").ravel()
        frame = av.AudioFrame.from_ndarray(
            samples.reshape(1, -1), format="s16" if wave.bits == 16 else "s32", layout=LAYOUTS[wave.channels - 1]
        )
        frame.sample_rate = wave.rate_hz
        yield frame


def _bytes(samples: np.ndarray[Any, Any], planar: bool, bits: int) -> bytes:
    import numpy as np

    interleaved = np.ascontiguousarray(samples.T if planar else samples)
    if bits == 16:
        return interleaved.astype("<i2", copy=False).tobytes()
    return interleaved.astype("<i4", copy=False).reshape(-1).view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()


def _blocks(source: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The metadata blocks of a FLAC file; the source is left where its audio begins."""
    if source.read(4) != MARKER:
        raise IntegrityError("no FLAC file")
    kind = 0
    while not kind & LAST_BLOCK:
        header = source.read(4)
        if len(header) < 4:
            raise IntegrityError("a FLAC file that is cut off")
        kind = header[0]
        yield kind & ~LAST_BLOCK, source.read(int.from_bytes(header[1:], "big"))


def _block(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, "big") + body
