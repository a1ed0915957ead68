"""Tiny models that real engines load: they test plumbing and never quality. Each function fills a folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from lake.models.resolve import silero_path
from tests.support.onnx_graph import FLOAT, INT64, constant, model, node, port

LANGUAGES = ["en", "zh", "de", "fr"]
WORDS = ["[UNK]", "river", "water", "fire", "bridge", "the", "a"]


def whisper(
    folder: Path, seed: int = 0, width: int = 64, heads: int = 2, layers: int = 2, many_languages: bool = False
) -> Path:
    """A Whisper of random weights in CTranslate2's form, 2 MB, made without torch; its text is noise."""
    from ctranslate2.specs import whisper_spec

    folder.mkdir(parents=True, exist_ok=True)
    tokens = _whisper_tokenizer(many_languages)
    vocabulary = [name for name, _ in sorted(tokens.get_vocab().items(), key=lambda item: item[1])]
    vocabulary += [f"<|{number * 0.02:.2f}|>" for number in range(1501)]
    rng = np.random.default_rng(seed)

    def random(*shape: int) -> Any:
        return (rng.standard_normal(shape) * 0.05).astype(np.float32)

    def linear(layer: Any, inputs: int, outputs: int) -> None:
        layer.weight, layer.bias = random(outputs, inputs), random(outputs)

    def norm(layer: Any) -> None:
        layer.gamma, layer.beta = np.ones(width, np.float32), np.zeros(width, np.float32)

    def attention(layer: Any, cross: bool = False) -> None:
        norm(layer.layer_norm)
        linear(layer.linear[0], width, width if cross else 3 * width)
        if cross:
            linear(layer.linear[1], width, 2 * width)
        linear(layer.linear[-1], width, width)

    def forward(layer: Any) -> None:
        norm(layer.layer_norm)
        linear(layer.linear_0, width, 4 * width)
        linear(layer.linear_1, 4 * width, width)

    spec = whisper_spec.WhisperSpec(layers, heads, layers, heads)
    encoder, decoder = spec.encoder, spec.decoder
    encoder.conv1.weight, encoder.conv1.bias = random(width, 80, 3), random(width)
    encoder.conv2.weight, encoder.conv2.bias = random(width, width, 3), random(width)
    encoder.position_encodings.encodings = random(1500, width)
    norm(encoder.layer_norm)
    for layer in encoder.layer:
        attention(layer.self_attention)
        forward(layer.ffn)
    decoder.embeddings.weight = random(len(vocabulary), width)
    decoder.position_encodings.encodings = random(448, width)
    norm(decoder.layer_norm)
    decoder.projection.weight = decoder.embeddings.weight
    decoder.projection.bias = np.zeros(len(vocabulary), np.float32)
    for layer in decoder.layer:
        attention(layer.self_attention)
        attention(layer.attention, cross=True)
        forward(layer.ffn)
    spec.register_vocabulary(vocabulary)
    spec.config.suppress_ids, spec.config.suppress_ids_begin = [], []
    spec.config.lang_ids = [tokens.token_to_id(f"<|{name}|>") for name in LANGUAGES]
    spec.config.alignment_heads = [(layers - 1, 0)]
    spec.validate()
    spec.optimize()
    spec.save(str(folder))
    tokens.save(str(folder / "tokenizer.json"))
    facts = {"feature_size": 80, "sampling_rate": 16000, "hop_length": 160, "chunk_length": 30, "n_fft": 400}
    (folder / "preprocessor_config.json").write_text(json.dumps(facts))
    return folder


def _whisper_tokenizer(many_languages: bool) -> Tokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters += [""] if many_languages else []  # by this token CTranslate2 knows that there are many
    tokens = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{name}|>" for name in LANGUAGES)]
    special += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>"]
    special += ["<|notimestamps|>"]
    tokens.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    return tokens


def silero(folder: Path) -> Path:
    """The built-in voice detector as somebody would register it."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(silero_path(), folder / "model.onnx")
    return _described(folder, "task: vad\nformat: silero-onnx\n")


def loud_vad(folder: Path, gain: float = 10.0) -> Path:
    """A voice detector that takes whatever is loud for speech: its results differ from Silero's."""
    state = [port("h", FLOAT, [1, 1, 128]), port("c", FLOAT, [1, 1, 128])]
    graph = model(
        [
            node("Abs", ["input"], ["size"]),
            node("ReduceMax", ["size"], ["peak"], axes=[1], keepdims=1),
            node("Mul", ["peak", "gain"], ["scaled"]),
            node("Min", ["scaled", "one"], ["output"]),
            node("Identity", ["h"], ["hn"]),
            node("Identity", ["c"], ["cn"]),
        ],
        [port("input", FLOAT, ["n", 576]), *state],
        [port("output", FLOAT, ["n", 1]), port("hn", FLOAT, [1, 1, 128]), port("cn", FLOAT, [1, 1, 128])],
        [constant("gain", np.full((1,), gain, np.float32)), constant("one", np.ones((1,), np.float32))],
    )
    return _described(folder, "task: vad\nformat: silero-onnx\n", graph)


def text_embedding(folder: Path, dimensions: int = 4, said: str = "") -> Path:
    """Each word has a fixed vector; words are those of ``WORDS``. ``said`` goes below ``text:``."""
    table = np.random.default_rng(7).standard_normal((len(WORDS), dimensions)).astype(np.float32)
    graph = model(
        [node("Gather", ["table", "input_ids"], ["last_hidden_state"])],
        [port("input_ids", INT64, ["texts", "tokens"]), port("attention_mask", INT64, ["texts", "tokens"])],
        [port("last_hidden_state", FLOAT, ["texts", "tokens", dimensions])],
        [constant("table", table)],
    )
    _described(folder, f"task: text_embedding\nformat: onnx-embedding\n{said}", graph)
    tokens = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens.save(str(folder / "tokenizer.json"))
    return folder


def word_vectors(dimensions: int = 4) -> dict[str, Any]:
    """The vectors of ``text_embedding``, by word."""
    table = np.random.default_rng(7).standard_normal((len(WORDS), dimensions)).astype(np.float32)
    return dict(zip(WORDS, table, strict=True))


def colours(folder: Path, said: str | None = None) -> Path:
    """A classifier that says how red, green and blue a picture is on average."""
    graph = model(
        [
            node("GlobalAveragePool", ["pixels"], ["pooled"]),
            node("Flatten", ["pooled"], ["means"]),
            node("Mul", ["means", "gain"], ["scores"]),
        ],
        [port("pixels", FLOAT, [1, 3, "h", "w"])],
        [port("scores", FLOAT, [1, 3])],
        [constant("gain", np.full((1,), 10, np.float32))],
    )
    (folder / "labels.txt").parent.mkdir(parents=True, exist_ok=True)
    (folder / "labels.txt").write_text("red\ngreen\nblue\n")
    return _described(folder, said or COLOURS, graph)


COLOURS = """task: image_labels
format: onnx
input: {kind: image, width_px: 8, height_px: 8, scale: 0.00392156862745098}
output: {kind: scores, activation: softmax, labels: labels.txt, top: 2}
"""


def _described(folder: Path, said: str, graph: bytes | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.yaml").write_text(said)
    if graph is not None:
        (folder / "model.onnx").write_bytes(graph)
    return folder
