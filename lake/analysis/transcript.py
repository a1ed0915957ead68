"""What is said in a recording, by a Whisper model that has to be chosen; memory stays flat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lake.analysis.base import Analysis
from lake.analysis.speech import PARAMS as SPEECH_PARAMS
from lake.analysis.speech import SAMPLE_RATE_HZ, Span, speech_spans
from lake.model import Media, Row
from lake.models.loaded import engine_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIELDS = pa.schema(
    [
        ("text", pa.string()),
        ("language", pa.string()),
        ("language_probability", pa.float32()),
        ("mean_logprob", pa.float32()),
        ("no_speech_probability", pa.float32()),
    ]
)

PARAMS: dict[str, Any] = {
    "language": None,
    "beam_size": 5,
    "block_s": 600.0,
    "window_s": 28.0,
    "vad": SPEECH_PARAMS,
}
"""``language`` None: the one that is heard first. A recording is taken in blocks of ``block_s``, cut in pauses."""

SEARCHED_S = 20.0
"""The end of a block in which a pause is looked for."""


def run(media: Media, params: Mapping[str, Any]) -> Iterator[Row]:
    """One row an utterance; nothing for a recording without sound or without speech."""
    from lake.media.decode import audio_blocks

    blocks = audio_blocks(media, sample_rate_hz=SAMPLE_RATE_HZ, mono=True)
    yield from transcribed(blocks, params)


def transcribed(blocks: Iterable[NDArray[np.float32]], params: Mapping[str, Any]) -> Iterator[Row]:
    """Rows of a stream of mono blocks at 16 kHz; the cut into those blocks does not change the result."""
    whisper = engine_for(params, "asr")
    vad = {**params["vad"], "models": params["models"]}
    language, probability = params["language"], None
    before_s = 0.0
    for block in cut_in_pauses(blocks, float(params["block_s"])):
        for start, end in windows(speech_spans([block], vad), float(params["window_s"])):
            if language is None:
                language, probability = whisper.language(block[start:end])
            offset_s, length_s = before_s + start / SAMPLE_RATE_HZ, (end - start) / SAMPLE_RATE_HZ
            for said in whisper.transcribe(block[start:end], language, int(params["beam_size"])):
                if said.start_s >= length_s:  # invented for the silence that a window is filled up with
                    continue
                yield {
                    "start_s": offset_s + said.start_s,
                    "end_s": offset_s + min(said.end_s, length_s),
                    "text": said.text,
                    "language": language,
                    "language_probability": probability,
                    "mean_logprob": said.mean_logprob,
                    "no_speech_probability": said.no_speech_probability,
                }
        before_s += len(block) / SAMPLE_RATE_HZ


def cut_in_pauses(blocks: Iterable[NDArray[np.float32]], block_s: float) -> Iterator[NDArray[np.float32]]:
    """The same samples in blocks of at most ``block_s``, each but the last ended at its quietest place near the end."""
    size = int(block_s * SAMPLE_RATE_HZ)
    held: list[NDArray[np.float32]] = []
    count = 0
    for block in blocks:
        held.append(block)
        count += len(block)
        while count > size:
            joined = np.concatenate(held)
            cut = quietest(joined[:size])
            yield joined[:cut]
            held, count = [joined[cut:]], count - cut
    if count:
        yield np.concatenate(held)


def quietest(samples: NDArray[np.float32]) -> int:
    """The middle of the quietest tenth of a second in the last ``SEARCHED_S``, as a position in the samples."""
    frame = SAMPLE_RATE_HZ // 10
    searched = samples[-min(len(samples) // 2, int(SEARCHED_S * SAMPLE_RATE_HZ)) :]
    frames = searched[: len(searched) // frame * frame].reshape(-1, frame)
    if not len(frames):
        return len(samples)
    quiet = int(np.argmin(np.square(frames).mean(axis=1)))
    return len(samples) - len(searched) + quiet * frame + frame // 2


def windows(spans: Iterable[Span], window_s: float) -> Iterator[tuple[int, int]]:
    """Neighbouring spans of speech joined, with the pauses between them, as far as they fit into one window."""
    first: Span | None = None
    end = 0
    for span in spans:
        if first is not None and span.end - first.start > window_s * SAMPLE_RATE_HZ:
            yield first.start, end
            first = None
        first = first or span
        end = span.end
    if first is not None:
        yield first.start, end


TRANSCRIPT = Analysis(
    name="transcript",
    version="1",
    media_kinds=("audio", "video"),
    piece=("start_s", "end_s"),
    fields=FIELDS,
    run=run,
    params=PARAMS,
    models={"asr": None, "vad": "builtin:silero-vad"},
    time_limit_s=3600.0,
)
