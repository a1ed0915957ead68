"""The analyses that need a model, on tiny ones: pieces, offsets, seams. Quality is the models' own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from lake.analysis import transcript
from lake.analysis.document_text import DOCUMENT_TEXT
from lake.analysis.registry import ANALYSES
from lake.analysis.speech import SAMPLE_RATE_HZ, Span
from lake.analysis.text_embedding import passages
from lake.analysis.transcript import PARAMS, cut_in_pauses, quietest, transcribed, windows
from lake.errors import ModelError
from lake.model import Media, MediaKind, Row
from lake.models.base import Model, read_files
from lake.models.describe import described
from lake.models.engines.whisper import Utterance
from lake.models.loaded import entry_of
from tests.support import tiny_models
from tests.support.analysis_media import blocks, encoded, scene, silence, tone, voice, wav

TALK = np.concatenate([silence(2), voice(2), silence(2), voice(1.5, pitch_hz=200), silence(1)])


def entry(folder: Path) -> dict[str, str]:
    files = read_files(folder)
    return entry_of(
        Model(f"path:{folder}", *described(folder, {f.path for f in files}), str(folder), files), folder, "cpu"
    )


def rows(name: str, models: dict[str, Any], data: bytes, content_type: str) -> list[Row]:
    kind: MediaKind = ANALYSES[name].media_kinds[0]
    params = {**ANALYSES[name].params, "models": models}
    found = list(ANALYSES[name].run(Media("", content_type, kind, data=data), params))
    msgpack.packb(found)  # how rows leave the decoding child: no numbers of numpy
    assert all(set(row) == {*ANALYSES[name].piece, *ANALYSES[name].fields.names} for row in found)
    return found


@pytest.fixture(scope="module")
def hearing(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("hearing")
    return {
        "asr": entry(tiny_models.whisper(folder / "w", seed=1)),
        "vad": entry(tiny_models.silero(folder / "v")),
    }


class Listener:
    """In Whisper's place: says how many seconds it was given, and remembers."""

    def __init__(self) -> None:
        self.given: list[int] = []
        self.languages: list[str] = []

    def language(self, samples: np.ndarray) -> tuple[str, float]:
        return "de", 0.75

    def transcribe(self, samples: np.ndarray, language: str, beam_size: int) -> Iterator[Utterance]:
        self.given.append(len(samples))
        self.languages.append(language)
        length_s = len(samples) / SAMPLE_RATE_HZ
        yield Utterance(0.0, length_s + 9, "heard", -0.5, 0.1)
        yield Utterance(length_s + 1, length_s + 2, "invented", -0.5, 0.1)


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Listener:
    made = Listener()
    monkeypatch.setattr(transcript, "engine_for", lambda params, task: made)
    return made


def test_a_real_engine_transcribes_what_is_speech(hearing: dict[str, Any]) -> None:
    found = rows("transcript", hearing, wav(TALK), "audio/x-wav")
    assert found and all(1.8 < row["start_s"] < row["end_s"] < 7.7 for row in found)
    assert rows("transcript", hearing, wav(silence(3)), "audio/x-wav") == []
    assert rows("transcript", hearing, wav(tone(3, 440, 0.3)), "audio/x-wav") == []


def test_only_speech_is_transcribed_in_its_place(listener: Listener, hearing: dict[str, Any]) -> None:
    (row,) = transcribed([TALK], {**PARAMS, "models": hearing})
    assert (row["start_s"], row["end_s"]) == (pytest.approx(2, abs=0.15), pytest.approx(7.5, abs=0.15))
    assert (row["text"], row["language"], row["language_probability"]) == ("heard", "de", 0.75)
    assert sum(listener.given) == pytest.approx(5.5 * SAMPLE_RATE_HZ, abs=0.3 * SAMPLE_RATE_HZ)


def test_a_small_window_separates_what_a_pause_separates(listener: Listener, hearing: dict[str, Any]) -> None:
    found = list(transcribed([TALK], {**PARAMS, "models": hearing, "window_s": 3.0}))
    assert [row["start_s"] for row in found] == [pytest.approx(2, abs=0.15), pytest.approx(6, abs=0.15)]
    assert listener.languages == ["de", "de"]


def test_a_language_that_is_given_is_not_looked_for(listener: Listener, hearing: dict[str, Any]) -> None:
    (row,) = transcribed([TALK], {**PARAMS, "models": hearing, "language": "fr"})
    assert (row["language"], row["language_probability"], listener.languages) == ("fr", None, ["fr"])


@pytest.mark.parametrize("size", [1000, 16_000, 50_001])
def test_the_cut_of_the_stream_changes_nothing(listener: Listener, hearing: dict[str, Any], size: int) -> None:
    long = np.concatenate([TALK, TALK, TALK])
    params = {**PARAMS, "models": hearing, "block_s": 9.0}
    assert list(transcribed(blocks(long, size), params)) == list(transcribed([long], params))


def test_long_recordings_are_cut_in_pauses_and_keep_their_times(listener: Listener, hearing: dict[str, Any]) -> None:
    found = list(transcribed([np.concatenate([TALK, TALK])], {**PARAMS, "models": hearing, "block_s": 9.0}))
    assert [row["start_s"] for row in found] == [pytest.approx(at, abs=0.15) for at in (2, 6, 14.5)]
    pieces = list(cut_in_pauses([np.concatenate([TALK, TALK])], 9.0))
    assert np.array_equal(np.concatenate(pieces), np.concatenate([TALK, TALK]))
    assert all(len(piece) <= 9 * SAMPLE_RATE_HZ for piece in pieces)
    assert list(cut_in_pauses([], 9.0)) == []


def test_the_quietest_place_is_in_the_pause() -> None:
    assert 6.0 < quietest(np.concatenate([tone(6, 300, 0.5), silence(1), tone(1, 300, 0.5)])) / SAMPLE_RATE_HZ < 7.0
    assert quietest(np.zeros(100, np.float32)) == 100


def test_windows_join_neighbours_that_fit() -> None:
    def joined(*spans_s: tuple[float, float]) -> list[tuple[int, int]]:
        spans = [Span(int(a * SAMPLE_RATE_HZ), int(b * SAMPLE_RATE_HZ), 1.0) for a, b in spans_s]
        return [(a // SAMPLE_RATE_HZ, b // SAMPLE_RATE_HZ) for a, b in windows(spans, 28.0)]

    assert joined() == []
    assert joined((1, 5), (6, 20), (21, 29)) == [(1, 29)]
    assert joined((1, 5), (6, 20), (21, 30)) == [(1, 20), (21, 30)]
    assert joined((0, 60), (61, 62)) == [(0, 60), (61, 62)]


def test_vectors_of_passages(tmp_path: Path) -> None:
    models = {"text_embedding": entry(tiny_models.text_embedding(tmp_path))}
    text = "the river\n\n" + "fire " * 300 + "bridge"
    found = rows("text_embedding", models, text.encode(), "text/plain")
    (page,) = DOCUMENT_TEXT.run(Media("", "text/plain", "document", data=text.encode()), DOCUMENT_TEXT.params)
    pieces = [page["text"][row["char_start"] : row["char_end"]] for row in found]
    assert " ".join(pieces).split() == text.split()
    words = tiny_models.word_vectors()
    assert len(found) == 2 and len(found[0]["embedding"]) == 4
    assert np.allclose(found[1]["embedding"], _mean(words, pieces[1]), atol=1e-5)
    assert rows("text_embedding", models, b"  \n", "text/plain") == []


def _mean(words: dict[str, Any], text: str) -> np.ndarray:
    mean = np.mean([words[word] for word in text.split()], axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


@pytest.mark.parametrize("most", [1, 7, 40, 1000])
def test_passages_hold_all_of_a_text_and_no_more_than_fits(most: int) -> None:
    text = "First line. Second sentence here.\n\nA paragraph of its own\nwith lines。中文句子。 " + "x" * 90 + "  "
    found = list(passages(text, most))
    assert all(0 < end - start <= most for start, end in found)
    assert "".join("".join(text[a:b].split()) for a, b in found) == "".join(text.split())
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(found))


def test_passages_end_at_the_best_place() -> None:
    assert list(passages("one two. three four", 12)) == [(0, 8), (9, 19)]
    assert list(passages("one two three four", 12)) == [(0, 7), (8, 18)]


def test_labels_of_an_image(tmp_path: Path) -> None:
    from PIL import Image

    models = {"image_labels": entry(tiny_models.colours(tmp_path))}
    first, second = rows("image_labels", models, encoded(Image.new("RGB", (30, 20), (255, 90, 0)), "PNG"), "image/png")
    assert (first["label"], second["label"]) == ("red", "green") and first["score"] > 0.9
    assert len(rows("image_labels", models, encoded(scene(3), "JPEG"), "image/jpeg")) == 2


def test_without_a_model_the_error_names_the_task() -> None:
    with pytest.raises(ModelError, match="no model for image_labels"):
        rows("image_labels", {}, encoded(scene(3), "PNG"), "image/png")
