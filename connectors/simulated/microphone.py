"""A microphone: quiet rooms with bursts of voice and tones at known times.

The voice says nothing, but it is made as a voice is: pulses of a glottis, three formants that glide from vowel to
vowel, hissing between syllables. Silero's voice activity detector takes it for speech; it does not take the tones.
"""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FILE_S = 20
SAMPLE_RATE_HZ = 16_000
_BLOCK = 160
_VOWELS_HZ = (
    (730, 1090, 2440),
    (270, 2290, 3010),
    (300, 870, 2240),
    (530, 1840, 2480),
    (570, 840, 2410),
    (440, 1020, 2240),
    (660, 1720, 2410),
)
_BANDWIDTHS_HZ = (80, 100, 140)

Samples = NDArray[np.float64]
Sound = Literal["voice", "tone"]


@dataclass(frozen=True)
class Sounds:
    """What is heard in one file: start and end in seconds, and the kind of sound."""

    bursts: tuple[tuple[float, float, Sound], ...]
    samples: NDArray[np.int16]


def listen(seed: list[int], pitch_hz: float, tones: bool) -> Sounds:
    """One file's worth of sound: bursts 2.5 s apart and 3 s from the end, so that detectors keep them apart."""
    rng = np.random.default_rng([*seed, 3])
    samples = _room(rng, FILE_S * SAMPLE_RATE_HZ)
    bursts: list[tuple[float, float, Sound]] = []
    at_s = float(np.round(rng.uniform(1, 3), 2))
    while True:
        length_s = float(np.round(rng.uniform(1.5, 4), 2))
        if at_s + length_s > FILE_S - 3:
            break
        kind: Sound = "tone" if tones and len(bursts) % 2 else "voice"
        count, start = int(length_s * SAMPLE_RATE_HZ), int(at_s * SAMPLE_RATE_HZ)
        sound = _tone(rng, count) if kind == "tone" else _voice(rng, count, pitch_hz * rng.uniform(0.9, 1.1))
        samples[start : start + count] += sound
        bursts.append((at_s, round(at_s + length_s, 2), kind))
        at_s = round(at_s + length_s + float(np.round(rng.uniform(2.5, 4), 2)), 2)
    return Sounds(tuple(bursts), (np.clip(samples, -1, 1) * 32767).astype(np.int16))


def to_wav(samples: NDArray[np.int16]) -> bytes:
    """PCM in a RIFF WAVE file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()


def to_flac(samples: NDArray[np.int16]) -> bytes:
    """The same, losslessly smaller."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flac") as container:
        stream: Any = container.add_stream("flac", rate=SAMPLE_RATE_HZ)
        stream.layout = "mono"
        stream.format = "s16"
        frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return buffer.getvalue()


def _room(rng: np.random.Generator, count: int) -> Samples:
    """Noise and mains hum at about -60 dBFS."""
    hum = np.sin(2 * np.pi * 50 * np.arange(count) / SAMPLE_RATE_HZ)
    return 0.001 * rng.standard_normal(count) + 0.0005 * hum


def _tone(rng: np.random.Generator, count: int) -> Samples:
    """A steady signal, as of a lift or a door."""
    at_s = np.arange(count) / SAMPLE_RATE_HZ
    fade = np.minimum(1, 50 * np.minimum(at_s, at_s[::-1]))
    return np.asarray(0.2 * np.sin(2 * np.pi * rng.uniform(900, 1600) * at_s) * fade)


def _voice(rng: np.random.Generator, count: int, pitch_hz: float) -> Samples:
    blocks = -(-count // _BLOCK)
    formants = np.zeros((blocks, 3))
    loudness, hiss = np.zeros(count), np.zeros(count)
    start = 0
    while start < count:
        end = min(count, start + int(rng.uniform(0.14, 0.26) * SAMPLE_RATE_HZ))
        formants[start // _BLOCK : -(-end // _BLOCK)] = _VOWELS_HZ[rng.integers(len(_VOWELS_HZ))]
        consonant = min(int(0.05 * SAMPLE_RATE_HZ), (end - start) // 3)
        vowel = end - start - consonant
        loudness[start + consonant : end] = np.sqrt(np.sin(np.pi * np.linspace(0, 1, vowel))) * rng.uniform(0.7, 1)
        hiss[start : start + consonant] = np.hanning(consonant) * rng.uniform(0.05, 0.3)
        start = end
    spoken = _resonate(_glottis(rng, count, pitch_hz) * loudness, _glide(formants))
    noise = np.diff(rng.standard_normal(count), prepend=0) * hiss
    return np.asarray(0.4 * spoken / np.max(np.abs(spoken)) + 0.1 * noise)


def _glottis(rng: np.random.Generator, count: int, pitch_hz: float) -> Samples:
    """Pulses of breath whose pitch sways and falls towards the end of the sentence."""
    at_s = np.arange(count) / SAMPLE_RATE_HZ
    sway = 1 + 0.12 * np.sin(2 * np.pi * 0.7 * at_s + rng.uniform(0, 6)) + 0.03 * np.sin(2 * np.pi * 5 * at_s)
    phase = np.cumsum(pitch_hz * sway * (1 - 0.15 * at_s / at_s[-1])) / SAMPLE_RATE_HZ % 1
    opening, closing = 0.5 * (1 - np.cos(np.pi * phase / 0.4)), np.cos(np.pi * (phase - 0.4) / 0.32)
    flow = np.where(phase < 0.4, opening, np.where(phase < 0.56, closing, 0))
    pulses = np.diff(flow, prepend=0)
    return np.asarray(pulses / np.std(pulses) + 0.05 * rng.standard_normal(count))


def _glide(formants: Samples) -> Samples:
    kernel = np.hanning(9) / np.hanning(9).sum()
    tracks = [np.convolve(np.pad(formants[:, i], 4, mode="edge"), kernel, "valid") for i in range(formants.shape[1])]
    return np.stack(tracks, 1)


def _resonate(sound: Samples, formants: Samples) -> Samples:
    """Filter by one resonance after the other, each following its formant block by block."""
    from scipy.signal import lfilter

    for index, bandwidth_hz in enumerate(_BANDWIDTHS_HZ):
        radius = np.exp(-np.pi * bandwidth_hz / SAMPLE_RATE_HZ)
        state, filtered = np.zeros(2), np.empty_like(sound)
        for block, frequency_hz in enumerate(formants[:, index]):
            a1 = -2 * radius * np.cos(2 * np.pi * frequency_hz / SAMPLE_RATE_HZ)
            part = slice(block * _BLOCK, (block + 1) * _BLOCK)
            gain = 1 + a1 + radius**2
            filtered[part], state = lfilter([gain], [1, a1, radius**2], sound[part], zi=state)
        sound = filtered
    return sound
