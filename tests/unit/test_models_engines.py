"""The engines on tiny models: what goes in, what comes out, and descriptions that do not fit their graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lake.errors import ModelError
from lake.models.describe import ImageInput
from lake.models.engines.embedding import TextEmbedding, pooled
from lake.models.engines.onnx import Onnx, activated, tensor
from lake.models.engines.silero import Silero
from lake.models.engines.whisper import Whisper
from tests.support import tiny_models
from tests.support.analysis_media import silence, voice


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Whisper:
    return Whisper(tiny_models.whisper(tmp_path_factory.mktemp("whisper")), "cpu")


def test_whisper_transcribes_and_twice_the_same(whisper: Whisper) -> None:
    talk = np.concatenate([silence(1), voice(4)])
    first, second = (list(whisper.transcribe(talk, "en", beam_size)) for beam_size in (1, 1))
    assert first == second and first
    assert all(said.start_s < said.end_s and isinstance(said.text, str) for said in first)
    assert all(said.mean_logprob < 0 and 0 <= said.no_speech_probability <= 1 for said in first)


def test_whisper_of_one_language_says_english(whisper: Whisper) -> None:
    assert whisper.language(voice(1)) == ("en", 1.0)


def test_whisper_of_many_languages_names_one(tmp_path: Path) -> None:
    folder = tiny_models.whisper(tmp_path, many_languages=True)
    code, probability = Whisper(folder, "cpu").language(voice(1))
    assert code in tiny_models.LANGUAGES and 0 < probability < 1


def test_whisper_with_the_mel_bands_of_another_is_refused(tmp_path: Path) -> None:
    folder = tiny_models.whisper(tmp_path)
    (folder / "preprocessor_config.json").write_text('{"feature_size": 128}')
    with pytest.raises(ModelError, match=r"wants 80 mel bands, preprocessor_config\.json says 128"):
        Whisper(folder, "cpu")


def test_whisper_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refused(*arguments: object, **options: object) -> None:
        raise AssertionError("a socket is opened")

    folder = tiny_models.whisper(tmp_path)
    monkeypatch.setattr(socket, "socket", refused)
    list(Whisper(folder, "cpu").transcribe(voice(1), "en", 1))


def test_the_embedding_of_a_text_is_the_mean_of_its_words(tmp_path: Path) -> None:
    words = tiny_models.word_vectors()
    model = TextEmbedding(tiny_models.text_embedding(tmp_path), "cpu")
    (vector,) = model.embed(["the river"])
    mean = (words["the"] + words["river"]) / 2
    assert np.allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)


def test_a_text_has_the_same_vector_in_every_company(tmp_path: Path) -> None:
    model = TextEmbedding(tiny_models.text_embedding(tmp_path), "cpu")
    rng = np.random.default_rng(1)
    texts = [" ".join(rng.choice(tiny_models.WORDS[1:], size)) for size in rng.integers(0, 40, 100)]
    together = model.embed(texts)
    alone = np.concatenate([model.embed([text]) for text in texts])
    assert np.allclose(together, alone, atol=1e-6)
    assert model.embed([]).size == 0


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("text: {pooling: first}", "the"),
        ("text: {prefix: 'fire ', pooling: first}", "fire"),
        ("text: {max_tokens: 3, pooling: first, normalize: false}", "the"),
    ],
)
def test_the_description_of_an_encoder_is_followed(tmp_path: Path, said: str, expected: str) -> None:
    model = TextEmbedding(tiny_models.text_embedding(tmp_path, said=said), "cpu")
    (vector,) = model.embed(["the river the river the river"])
    wanted = tiny_models.word_vectors()[expected]
    assert np.allclose(vector, wanted if "false" in said else wanted / np.linalg.norm(wanted), atol=1e-6)


def test_a_text_is_cut_to_the_tokens_a_model_takes(tmp_path: Path) -> None:
    model = TextEmbedding(tiny_models.text_embedding(tmp_path, said="text: {max_tokens: 3}"), "cpu")
    cut, short = model.embed(["fire fire fire river river", "fire fire fire"])
    assert np.allclose(cut, short)


def test_an_encoder_that_pools_itself_does_not_go_with_pooling_here(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="3 axes, which does not go with pooling: none"):
        TextEmbedding(tiny_models.text_embedding(tmp_path, said="text: {pooling: none}"), "cpu")


def test_padding_does_not_count() -> None:
    output = np.array([[[1.0, 0.0], [3.0, 0.0], [9.0, 9.0]]], np.float32)
    mask = np.array([[1, 1, 0]])
    assert pooled(output, mask, "mean", normalize=False).tolist() == [[2.0, 0.0]]
    assert pooled(output, mask, "mean", normalize=True).tolist() == [[1.0, 0.0]]
    assert pooled(output[:, 0], mask, "none", normalize=False).tolist() == [[1.0, 0.0]]


def test_an_encoder_with_an_input_nobody_gives_is_refused(tmp_path: Path) -> None:
    folder = tiny_models.text_embedding(tmp_path / "t")
    graph = (tiny_models.loud_vad(tmp_path / "v") / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(graph)
    with pytest.raises(ModelError, match="has the inputs input, h, c: known are"):
        TextEmbedding(folder, "cpu")


def test_labels_of_a_picture(tmp_path: Path) -> None:
    model = Onnx(tiny_models.colours(tmp_path), "cpu")
    (first, most), (second, _) = model.labels(Image.new("RGB", (40, 30), (20, 40, 255)))
    assert (first, second) == ("blue", "green")
    powers = np.exp(np.array([20, 40, 255]) * 10 / 255)
    assert most == pytest.approx(powers[2] / powers.sum(), abs=1e-4)


def test_low_scores_are_not_told(tmp_path: Path) -> None:
    said = tiny_models.COLOURS.replace("top: 2", "top: 3, at_least: 0.2")
    model = Onnx(tiny_models.colours(tmp_path, said), "cpu")
    assert [label for label, _ in model.labels(Image.new("RGB", (8, 8), (255, 0, 0)))] == ["red"]


def test_a_vector_of_a_picture(tmp_path: Path) -> None:
    said = tiny_models.COLOURS.partition("output:")[0] + "output: {kind: vector}\n"
    model = Onnx(tiny_models.colours(tmp_path, said), "cpu")
    assert model.vector(Image.new("RGB", (8, 8), (0, 255, 0))).tolist() == [0.0, 1.0, 0.0]
    with pytest.raises(ModelError, match="declared kind: vector"):
        model.labels(Image.new("RGB", (8, 8)))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("kind: image", "kind: image, name: picture"), "has the inputs pixels: one is declared, picture"),
        (("kind: scores", "kind: scores, name: logits"), "no output 'logits': it has scores"),
        (("kind: image", "kind: image, layout: nhwc"), "."),
    ],
)
def test_a_description_that_does_not_fit_its_graph_is_refused_when_it_is_loaded(
    tmp_path: Path, change: tuple[str, str], complaint: str
) -> None:
    with pytest.raises(Exception, match=complaint):
        Onnx(tiny_models.colours(tmp_path, tiny_models.COLOURS.replace(*change)), "cpu")


def test_labels_that_are_too_few_are_told_when_the_model_is_loaded(tmp_path: Path) -> None:
    folder = tiny_models.colours(tmp_path)
    (folder / "labels.txt").write_text("red\n")
    with pytest.raises(ModelError, match=r"3 scores, labels\.txt has 1 lines"):
        Onnx(folder, "cpu")


def test_a_picture_becomes_the_tensor_that_is_declared() -> None:
    left, right = (255, 128, 0), (0, 0, 255)
    picture = Image.new("RGB", (4, 2), left)
    picture.paste(right, (2, 0, 4, 2))

    def made(**said: object) -> np.ndarray:
        return tensor(picture, ImageInput(kind="image", **{"width_px": 4, "height_px": 2, **said}))  # type: ignore[arg-type]

    assert made().shape == (1, 3, 2, 4) and made().dtype == np.float32
    assert made()[0, :, 0, 0].tolist() == [255, 128, 0]
    assert made(colour="bgr")[0, :, 0, 0].tolist() == [0, 128, 255]
    assert made(layout="nhwc")[0, 0, 0].tolist() == [255, 128, 0]
    assert made(dtype="uint8").dtype == np.uint8
    assert made(colour="grey").shape == (1, 1, 2, 4)
    centred = made(scale=1 / 255, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
    assert centred[0, :, 0, 0].tolist() == pytest.approx([1.0, (128 / 255 - 0.25) / 0.25, 0.0])
    first, second = made(width_px=2)[0, 2, 0]
    assert 0 < first < 64 and 192 < second < 255
    middle = made(width_px=2, height_px=2, resize="crop")
    assert middle[0, 2, 0].tolist() == [0, 255]


def test_activations() -> None:
    values = np.array([0.0, 1000.0], np.float32)
    assert activated(values, "softmax").tolist() == [0.0, 1.0]
    assert activated(values, "sigmoid").tolist() == [0.5, 1.0]
    assert activated(values, "none") is values


def test_a_stream_of_windows_can_be_cut_anywhere(tmp_path: Path) -> None:
    model = Silero(tiny_models.silero(tmp_path), "cpu")
    windows = voice(1)[: 576 * 20].reshape(20, 576)
    whole, _ = model.probabilities(windows, model.initial())
    first, state = model.probabilities(windows[:7], model.initial())
    second, _ = model.probabilities(windows[7:], state)
    assert whole == pytest.approx(first + second, abs=1e-5)
