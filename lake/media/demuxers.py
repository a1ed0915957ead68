"""How ffmpeg is told to open a recording: its demuxer by content type, its options, and which streams are no video.

There is no protocol among them: a script of ffmpeg's, a playlist or a reference to another file opens nothing.
"""

from __future__ import annotations

import contextlib
from typing import Any, BinaryIO

from lake.errors import Unsupported

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


def attached(stream: Any) -> bool:
    """Whether a video stream is only a cover picture."""
    with contextlib.suppress(AttributeError):
        return bool(int(stream.disposition) & 0x400)
    return False
