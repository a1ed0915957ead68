"""Speech to text by faster-whisper: a Whisper converted for CTranslate2, from a local folder, without any hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lake.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COMPUTE_TYPE = "int8"
"""Named, because ``default`` becomes another type on another device, and with it other text."""


@dataclass(frozen=True)
class Utterance:
    """Text of a part of what was transcribed; times in seconds from its start."""

    start_s: float
    end_s: float
    text: str
    mean_logprob: float
    no_speech_probability: float


class Whisper:
    """One loaded model; one thread, because one task is one core."""

    def __init__(self, folder: Path, device: str) -> None:
        from faster_whisper import WhisperModel

        self._model = WhisperModel(
            str(folder), device=device, compute_type=COMPUTE_TYPE, cpu_threads=1, local_files_only=True
        )
        wanted, made = self._model.model.n_mels, self._model.feature_extractor.mel_filters.shape[0]
        if wanted != made:
            raise ModelError(f"the model wants {wanted} mel bands, preprocessor_config.json says {made}: is it there?")

    def language(self, samples: NDArray[np.float32]) -> tuple[str, float]:
        """The language spoken in mono samples at 16 kHz, as code, and how probable it is."""
        if not self._model.model.is_multilingual:
            return "en", 1.0
        code, probability, _ = self._model.detect_language(samples)
        return str(code), float(probability)

    def transcribe(self, samples: NDArray[np.float32], language: str, beam_size: int) -> Iterator[Utterance]:
        """Text of mono samples at 16 kHz. The same samples give the same text: no fallback to random sampling, no
        memory of what was said before."""
        segments, _ = self._model.transcribe(
            samples,
            language=language,
            beam_size=beam_size,
            temperature=0.0,
            condition_on_previous_text=False,
            vad_filter=False,
        )
        for segment in segments:
            yield Utterance(
                float(segment.start),
                float(segment.end),
                str(segment.text).strip(),
                float(segment.avg_logprob),
                float(segment.no_speech_prob),
            )
