"""A movie of gigabytes that takes no disk: real headers of an hour, one second of pictures and sound, and a hole."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np

from lake.media.movie_header import NESTED, boxes_between
from tests.support.analysis_media import scene, tone

SECONDS, FPS, SAMPLE_RATE_HZ = 3600, 30, 48_000
SIZE_BYTES = 2_500_000_000
TOLD = {
    "codecs": "h264,aac",
    "duration_s": float(SECONDS),
    "width_px": 320,
    "height_px": 240,
    "frame_rate_hz": float(FPS),
    "sample_rate_hz": SAMPLE_RATE_HZ,
    "channels": 1,
}
"""What its header says: fields of ``Technical``."""


def long_movie(path: Path, *, index_first: bool) -> int:
    """Write the movie, its index before or behind the recording, and return the bytes of the index."""
    short = _second()
    parts = {box.kind: short[box.at : box.end] for box in boxes_between(io.BytesIO(short), 0, len(short))}
    head = parts[b"ftyp"]
    sound_and_pictures = parts[b"mdat"][8:]
    moov = _moov(parts[b"moov"], 0)
    at = len(head) + (len(moov) if index_first else 0)
    moov = _moov(parts[b"moov"], at + 16)
    end = SIZE_BYTES - (0 if index_first else len(moov))
    with path.open("wb") as out:
        out.write(head + (moov if index_first else b""))
        out.write(struct.pack(">I4sQ", 1, b"mdat", end - at) + sound_and_pictures)
        out.truncate(end)
        if not index_first:
            out.seek(end)
            out.write(moov)
    return len(moov)


def _second() -> bytes:
    import av

    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        pictures: Any = container.add_stream("h264", rate=FPS, options={"bf": "0"})
        pictures.width, pictures.height, pictures.pix_fmt = TOLD["width_px"], TOLD["height_px"], "yuv420p"
        sound: Any = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
        for number in range(FPS):
            image = np.ascontiguousarray(np.asarray(scene(number % 3, 320, 240)))
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        samples = tone(1.0, 440, 0.3, SAMPLE_RATE_HZ).astype(np.float32)
        for start in range(0, len(samples) - 1023, 1024):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, start
            container.mux(sound.encode(frame))
        for stream in (pictures, sound):
            container.mux(stream.encode(None))
    return out.getvalue()


def _moov(short: bytes, recording_at: int) -> bytes:
    """The header of the short movie, stretched to an hour: each frame has its own duration, size and place."""
    units = {"movie": 1, "track": 1}

    def stretched(kind: bytes, content: bytes) -> bytes:
        if kind in NESTED:
            inner = boxes_between(io.BytesIO(content), 0, len(content))
            made = [(box.kind, stretched(box.kind, content[box.content_at : box.end])) for box in inner]
            content = b"".join(_box(name, body) for name, body in made if name not in (b"edts", b"ctts", b"stco"))
            return content + (_places(content) if kind == b"stbl" else b"")
        if kind in (b"mvhd", b"mdhd"):
            units["movie" if kind == b"mvhd" else "track"] = struct.unpack_from(">I", content, 12)[0]
            return _with(content, 16, SECONDS * struct.unpack_from(">I", content, 12)[0])
        if kind == b"tkhd":
            return _with(content, 20, SECONDS * units["movie"])
        if kind == b"stsz":
            return struct.pack(">III", 0, 0, _frames(units["track"])) + struct.pack(">I", 900) * _frames(units["track"])
        if kind == b"stts":
            frames = _frames(units["track"])
            times = np.full(frames, SECONDS * units["track"] // frames)
            times[: SECONDS * units["track"] % frames] += 1
            pairs = np.stack([np.ones(frames), times], axis=1).astype(">u4")
            return struct.pack(">II", 0, frames) + pairs.tobytes()
        if kind == b"stsc":
            return struct.pack(">IIIII", 0, 1, 1, 1, 1)
        return content

    def _places(tables: bytes) -> bytes:
        frames = _frames(units["track"])
        places = recording_at + np.arange(frames, dtype=np.int64) * ((SIZE_BYTES - 10_000_000) // frames)
        return _box(b"co64", struct.pack(">II", 0, frames) + places.astype(">u8").tobytes())

    return _box(b"moov", stretched(b"moov", short[8:]))


def _frames(units: int) -> int:
    """Frames of a track by its units a second: the sound's are its samples."""
    return SECONDS * units // 1024 if units == SAMPLE_RATE_HZ else SECONDS * FPS


def _with(content: bytes, at: int, number: int) -> bytes:
    return content[:at] + struct.pack(">I", number) + content[at + 4 :]


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content
