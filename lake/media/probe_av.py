"""Technical metadata of sound and video: WAV and headerless sound by arithmetic, all else by PyAV."""

from __future__ import annotations

import contextlib
import io
import struct
from datetime import UTC, datetime
from typing import Any, BinaryIO

from lake.errors import Damaged
from lake.media.demuxers import NO_REFERENCES, attached, demuxer
from lake.media.limits import Limits
from lake.media.movie_header import boxes_between, movie_header
from lake.model import Sniffed, Technical

WAV_CODECS = {
    1: "pcm",
    3: "pcm_float",
    6: "pcm_alaw",
    7: "pcm_mulaw",
    2: "adpcm_ms",
    0x11: "adpcm_ima",
    0x31: "gsm_ms",
    0x55: "mp3",
}
"""Names of the commonest format tags (RFC 2361)."""

UNKNOWN_SIZES = (0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000)
"""What recorders write as size while they do not know it."""

LARGE_BYTES = 8 * 1024 * 1024


def probe_wav(stream: BinaryIO, sniffed: Sniffed, size_bytes: int, limits: Limits) -> Technical:
    """A WAV file by its chunks (Microsoft RIFF, EBU Tech 3306 for RF64)."""
    layout: tuple[int, int, int, int, int] | None = None
    stream.seek(12)
    while len(head := stream.read(8)) == 8:
        name, length = head[:4], struct.unpack("<I", head[4:])[0]
        if name == b"fmt ":
            if length < 16:
                raise Damaged("the WAV header is too short")
            layout = _wav_format(stream, length)
        elif name == b"data":
            if layout is None:
                raise Damaged("the WAV file has no format before its samples")
            there = size_bytes - stream.tell()
            if length not in UNKNOWN_SIZES and length > there + 1:
                raise Damaged(f"the WAV file is cut off: {there:,} of {length:,} bytes of sound are there")
            return _wav_technical(layout, there if length in UNKNOWN_SIZES else min(length, there))
        else:
            stream.seek(length + (length & 1), 1)
    raise Damaged("the WAV file is cut off before its sound")


def _wav_format(stream: BinaryIO, length: int) -> tuple[int, int, int, int, int]:
    body = stream.read(length + (length & 1))
    if len(body) < 16:
        raise Damaged("the WAV file is cut off in its header")
    tag, channels, rate, byte_rate, _, bits = struct.unpack_from("<HHIIHH", body)
    if tag == 0xFFFE and len(body) >= 26:
        tag = struct.unpack_from("<H", body, 24)[0]
    return tag, channels, rate, byte_rate, bits


def _wav_technical(layout: tuple[int, int, int, int, int], sound_bytes: int) -> Technical:
    tag, channels, rate, byte_rate, bits = layout
    if not rate or not byte_rate or not channels:
        raise Damaged("the WAV header declares no sample rate or no channel")
    codec = WAV_CODECS.get(tag, f"wav_{tag:#06x}")
    if tag in (1, 3):
        codec = f"{'pcm_f' if tag == 3 else 'pcm_u' if bits == 8 else 'pcm_s'}{bits}{'' if bits == 8 else 'le'}"
    return Technical(
        container="wav", codecs=codec, duration_s=sound_bytes / byte_rate, sample_rate_hz=rate, channels=channels
    )


def probe_headerless(stream: BinaryIO, sniffed: Sniffed, size_bytes: int, limits: Limits) -> Technical:
    """Sound without a header: length by its fixed rate."""
    container, codec, rate, byte_rate = {
        "audio/x-gsm": ("gsm", "gsm", 8000, 33 / 0.02),
        "audio/G722": ("g722", "adpcm_g722", 16000, 8000.0),
    }.get(sniffed.content_type, ("raw", "pcm_s16le", 16000, 32000.0))
    note = None if container == "gsm" else f"no header: read as mono at {rate} Hz"
    return Technical(container, codec, size_bytes / byte_rate, sample_rate_hz=rate, channels=1, notes=note)


def probe_media(stream: BinaryIO, sniffed: Sniffed, size_bytes: int, limits: Limits) -> Technical:
    """Streams, sizes and rates as the container's header gives them, by PyAV; the format is forced, no protocol.

    Of a large movie FFmpeg is shown the header alone: its tables of samples and the first pictures are megabytes. Its
    duration is then that of the tracks, edit lists left out: some milliseconds more where the first frame is cut.
    """
    _refuse_cut_off(stream, sniffed.content_type, size_bytes)
    stream.seek(0)
    if sniffed.content_type == "audio/midi":
        return Technical(container="midi")
    name = demuxer(sniffed.content_type, stream)
    if name in ("mp4", "mov") and size_bytes >= LARGE_BYTES and (header := movie_header(stream, size_bytes)):
        with contextlib.suppress(Damaged):  # else it is asked whole, and says what it is that is wrong
            return _asked(io.BytesIO(header), name, sniffed)
    stream.seek(0)
    return _asked(stream, name, sniffed)


def _asked(stream: BinaryIO, name: str, sniffed: Sniffed) -> Technical:
    import av
    from av.error import FFmpegError

    options = NO_REFERENCES if name in ("mp4", "mov") else {}
    try:
        with av.open(stream, "r", format=name, options=dict(options), metadata_errors="replace") as container:
            return _technical(container, name, sniffed)
    except (FFmpegError, ValueError) as error:
        raise Damaged(f"cannot be opened as {name}: {getattr(error, 'strerror', None) or error}") from error


def _technical(container: Any, name: str, sniffed: Sniffed) -> Technical:
    streams = [s for s in (*container.streams.video, *container.streams.audio) if not attached(s)]
    if not streams:
        raise Damaged(f"the {name} file has neither video nor sound")
    video = next((s for s in streams if s.type == "video"), None)
    audio = next((s for s in streams if s.type == "audio"), None)
    if sniffed.media_kind == "video" and video is not None and not video.codec_context.width:
        raise Damaged("the video stream has no picture size: its header is damaged")
    return Technical(
        container=name,
        codecs=",".join(s.codec_context.codec.canonical_name for s in (video, audio) if s is not None),
        duration_s=_duration_s(container, streams),
        width_px=video.codec_context.width if video is not None else None,
        height_px=video.codec_context.height if video is not None else None,
        frame_rate_hz=_frame_rate_hz(video, name) if video is not None else None,
        sample_rate_hz=audio.codec_context.sample_rate if audio is not None else None,
        channels=audio.codec_context.channels if audio is not None else None,
        captured_at_utc=_created(container.metadata.get("creation_time")),
    )


def _frame_rate_hz(video: Any, name: str) -> float | None:
    """Frames a second; a stream without a container has no times to average over, only its own header."""
    rate = video.guessed_rate if name == "mpegvideo" else video.average_rate
    return float(rate) if rate else None


def _duration_s(container: Any, streams: list[Any]) -> float | None:
    if container.duration is not None and container.duration > 0:
        return float(container.duration) / 1_000_000
    known = [float(s.duration * s.time_base) for s in streams if s.duration]
    return max(known) if known else None


def _created(text: str | None) -> datetime | None:
    """The creation time of a container; writers without a clock put 1904 or 1970."""
    with contextlib.suppress(ValueError):
        if text:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return moment.astimezone(UTC) if moment.year > 1970 else None
    return None


def _refuse_cut_off(stream: BinaryIO, content_type: str, size_bytes: int) -> None:
    """Containers that say how long they are: told when there is less."""
    if content_type in ("video/mp4", "video/quicktime", "video/3gpp", "audio/x-m4a"):
        kinds = set()
        for box in boxes_between(stream, 0, size_bytes):
            kinds.add(box.kind)
            if box.end > size_bytes:
                name = box.kind.decode("latin-1")
                raise Damaged(f"the file is cut off: its part {name!r} ends at {box.end:,}, the file at {size_bytes:,}")
        if not kinds & {b"moov", b"moof"}:
            raise Damaged("the file is cut off or was never finished: its index (moov) is missing")
    elif content_type == "video/x-msvideo":
        stream.seek(4)
        declared = struct.unpack("<I", stream.read(4))[0]
        if declared not in UNKNOWN_SIZES and declared + 8 > size_bytes + 1:
            raise Damaged(f"the AVI file is cut off: {size_bytes:,} of {declared + 8:,} bytes are there")
