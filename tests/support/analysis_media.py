"""Seeded pictures and sounds with known content, for the tests of the analyses."""

from __future__ import annotations

import io
import struct
import wave
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.signal import lfilter

RATE_HZ = 16_000


def scene(seed: int, width_px: int = 320, height_px: int = 240) -> Image.Image:
    """A picture of coloured blobs that depends on the seed alone."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width_px, height_px), tuple(int(v) for v in rng.integers(0, 256, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = rng.random(2) * (width_px, height_px)
        w, h = (0.1 + 0.3 * rng.random(2)) * (width_px, height_px)
        draw.ellipse((x - w / 2, y - h / 2, x + w / 2, y + h / 2), fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
    return image


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """The image's bytes in a format of Pillow."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def hamming(one: str, other: str) -> int:
    """Bits in which two hexadecimal hashes differ."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def silence(duration_s: float, seed: int = 0, level: float = 1e-4) -> NDArray[np.float32]:
    """Very soft noise."""
    return (level * np.random.default_rng(seed).standard_normal(round(duration_s * RATE_HZ))).astype(np.float32)


def tone(duration_s: float, frequency_hz: float, amplitude: float, rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    """A sine that starts at zero."""
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def voice(duration_s: float, pitch_hz: float = 120.0, seed: int = 0) -> NDArray[np.float32]:
    """A buzz through three formants with four syllables a second: no words, yet a voice detector takes it for one."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    pitch = pitch_hz * (1 + 0.1 * np.sin(2 * np.pi * 2.5 * time_s) + 0.03 * np.sin(2 * np.pi * 5 * time_s))
    signal = np.diff(np.floor(np.cumsum(pitch) / RATE_HZ), prepend=0) + 0.02 * rng.standard_normal(len(time_s))
    for centre_hz, width_hz in ((700, 90), (1200, 110), (2600, 160)):
        radius = np.exp(-np.pi * width_hz / RATE_HZ)
        feedback = [1, -2 * radius * np.cos(2 * np.pi * centre_hz / RATE_HZ), radius**2]
        signal = lfilter([1 - radius], feedback, signal)
    signal = signal * np.clip(1.5 * np.sin(2 * np.pi * 4 * time_s) + 0.6, 0, 1)
    return (0.3 * signal / np.abs(signal).max()).astype(np.float32)


def blocks(samples: NDArray[np.float32], size: int) -> Iterator[NDArray[np.float32]]:
    """The samples cut into blocks of ``size`` along the last axis."""
    for start in range(0, samples.shape[-1], size):
        yield samples[..., start : start + size]


def wav(samples: NDArray[np.float32], rate_hz: int = RATE_HZ) -> bytes:
    """16-bit WAV of samples of shape (samples,) or (channels, samples)."""
    channels = np.atleast_2d(samples)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((np.clip(channels, -1, 1) * 32767).astype("<i2").T.tobytes())
    return buffer.getvalue()


def mp3(samples: NDArray[np.float32], rate_hz: int = RATE_HZ) -> bytes:
    """MP3 of samples of shape (samples,) or (channels, samples), without a header: such files may be put together."""
    import av

    channels = np.atleast_2d(samples)
    layout = "mono" if len(channels) == 1 else "stereo"
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp3", options={"write_xing": "0", "id3v2_version": "0"}) as container:
        audio = container.add_stream("mp3", rate=rate_hz, layout=layout)
        frame = av.AudioFrame.from_ndarray(channels, format="fltp", layout=layout)
        frame.sample_rate = rate_hz
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return buffer.getvalue()


def mp4(pictures: Iterable[NDArray[np.uint8]], matrix: tuple[int, int, int, int], fps: int = 25) -> bytes:
    """MP4 of BGR pictures, to be shown with (x, y) at (a x + c y, b x + d y) for a matrix (a, b, c, d)."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        video = container.add_stream("mpeg4", rate=fps)
        for number, picture in enumerate(pictures):
            if number == 0:
                video.height, video.width, video.pix_fmt = *picture.shape[:2], "yuv420p"
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(video.encode(None))
    before, header, after = buffer.getvalue().partition(b"tkhd")
    a, b, c, d = (value << 16 for value in matrix)
    return before + header + after[:40] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + after[76:]


def avi(pictures: Iterable[NDArray[np.uint8]], fps: int = 25, sound: NDArray[np.float32] | None = None) -> bytes:
    """AVI of BGR pictures in MPEG-4, with 16 kHz mono sound if given."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="avi") as container:
        video = container.add_stream("mpeg4", rate=fps)
        audio = container.add_stream("pcm_s16le", rate=RATE_HZ, layout="mono") if sound is not None else None
        for number, picture in enumerate(pictures):
            if number == 0:
                video.height, video.width, video.pix_fmt, video.bit_rate = *picture.shape[:2], "yuv420p", 2_000_000
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(video.encode(None))
        if audio is not None and sound is not None:
            frame = av.AudioFrame.from_ndarray((sound[None] * 32767).astype(np.int16), format="s16", layout="mono")
            frame.sample_rate = RATE_HZ
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return buffer.getvalue()
