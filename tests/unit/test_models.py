"""Names of models, what lies in a folder, the registry, and what a submission finds out."""

from __future__ import annotations

import hashlib
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lake.errors import LakeError, ModelError, UsageError
from lake.models.base import ModelFile, differences, files_hash, read_files
from lake.models.describe import described
from lake.models.registry import Added, add, examined, find, list_models, object_problems, of_row
from lake.models.resolve import resolve
from lake.models.uri import ModelUri, parse, parse_registered
from lake.schema import MODELS
from lake.store.objects import FolderStore
from lake.tables import Tables
from tests.support import tiny_models

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Place:
    """A root with an empty table of models."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "lake"
        self.root.mkdir()
        self.cache = folder / "cache"
        self.store, self.tables = FolderStore(str(self.root)), Tables(str(self.root))
        self.tables.create("models", MODELS)

    def add(self, name: str, folder: Path, licence: str = "MIT") -> Added:
        return add(self.store, self.tables, name, examined(name, folder), licence, "run", NOW, None)

    def resolve(self, uri: str) -> str:
        return resolve(uri, self.tables, self.store, self.cache).model_hash


def verified(place: Place, uri: str) -> list[str]:
    model = of_row(find(place.tables, parse(uri)))
    return object_problems(place.store, model.place, model.files)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("builtin:silero-vad", ModelUri("builtin", "silero-vad")),
        ("lake:asr/whisper-small@3", ModelUri("lake", "asr/whisper-small", 3)),
        ("lake:asr/whisper-small", ModelUri("lake", "asr/whisper-small")),
        ("path:/models/of mine", ModelUri("path", "/models/of mine")),
    ],
)
def test_uris(text: str, uri: ModelUri) -> None:
    assert parse(text) == uri
    assert str(uri) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whisper-small",
        "builtin:",
        "path:",
        "hub:openai/whisper",
        "lake:whisper",
        "lake:a/b/c@1",
        "lake:asr/../x@1",
        "lake:asr/x@0",
        "lake:asr/x@1.5",
        "lake:asr/x@",
        "lake:Asr/x@1",
    ],
)
def test_what_is_no_uri_is_a_mistake_of_the_caller(text: str) -> None:
    with pytest.raises(UsageError, match=r"names no|is no name"):
        parse(text)


def test_the_hash_of_a_model_is_that_of_its_files_and_their_names(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "model.onnx").write_bytes(b"weights")
    (only,) = read_files(tmp_path / "one")
    assert files_hash([only]) == hashlib.sha256(b"weights").hexdigest()
    second = ModelFile("labels.txt", 1, "ab")
    assert files_hash([only, second]) == files_hash([second, only]) != files_hash([only])
    assert files_hash([only, ModelFile("kinds.txt", 1, "ab")]) != files_hash([only, second])


def test_links_to_files_are_files(tmp_path: Path) -> None:
    """Hubs keep a model as links to its contents."""
    (tmp_path / "content").write_bytes(b"weights")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.bin").symlink_to(tmp_path / "content")
    assert read_files(tmp_path / "model") == (ModelFile("model.bin", 7, hashlib.sha256(b"weights").hexdigest()),)


def said_of(folder: Path) -> tuple[str, str]:
    return described(folder, {file.path for file in read_files(folder)})


def test_what_lies_in_a_folder(tmp_path: Path) -> None:
    assert said_of(tiny_models.whisper(tmp_path / "w")) == ("asr", "faster-whisper")
    assert said_of(tiny_models.silero(tmp_path / "s")) == ("vad", "silero-onnx")
    assert said_of(tiny_models.text_embedding(tmp_path / "t")) == ("text_embedding", "onnx-embedding")
    assert said_of(tiny_models.colours(tmp_path / "c")) == ("image_labels", "onnx")


def test_a_whisper_that_would_go_to_a_hub_is_refused(tmp_path: Path) -> None:
    folder = tiny_models.whisper(tmp_path)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"lacks tokenizer\.json"):
        said_of(folder)


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("task: image_labels\nformat: onnx\n", "needs input and output"),
        ("task: image_labels\nformat: torch\n", "format"),
        (tiny_models.COLOURS + "extra: 1\n", "extra"),
        (tiny_models.COLOURS.replace("labels.txt", "../labels.txt"), r"lacks \.\./labels\.txt"),
        (tiny_models.COLOURS.replace("width_px: 8", "width_px: 0"), r"input\.width_px"),
        ("[", "cannot be read"),
        ("", "model.yaml"),
    ],
)
def test_a_wrong_description_is_told(tmp_path: Path, said: str, complaint: str) -> None:
    folder = tiny_models.colours(tmp_path)
    (folder / "model.yaml").write_text(said)
    with pytest.raises(ModelError, match=complaint) as caught:
        said_of(folder)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no folder"):
        examined("asr/x", tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="is empty"):
        examined("asr/x", tmp_path / "empty")
    (tmp_path / "empty" / "notes.txt").write_text("x")
    with pytest.raises(ModelError, match="no known model"):
        examined("asr/x", tmp_path / "empty")


def test_versions_of_a_name(place: Place, tmp_path: Path) -> None:
    first = place.add("asr/tiny", tiny_models.whisper(tmp_path / "a", seed=1))
    again = place.add("asr/tiny", tmp_path / "a")
    second = place.add("asr/tiny", tiny_models.whisper(tmp_path / "b", seed=2))
    assert [(each.version, each.new) for each in (first, again, second)] == [(1, True), (1, False), (2, True)]
    rows = list_models(place.tables)
    assert [(row["name"], row["version"], row["task"], row["licence"]) for row in rows] == [
        ("asr/tiny", 1, "asr", "MIT"),
        ("asr/tiny", 2, "asr", "MIT"),
    ]
    assert rows[0]["model_hash"] == first.model.model_hash == files_hash(read_files(tmp_path / "a"))
    for row in rows:
        for file in row["files"]:
            data = place.store.get(f"models/asr/tiny/{row['version']}/{file['path']}")
            assert (len(data), hashlib.sha256(data).hexdigest()) == (file["size_bytes"], file["sha256"])
    assert place.tables.open("models").version() == 2  # the second addition wrote nothing


def test_what_is_registered_does_not_change_with_the_file_it_came_from(place: Place, tmp_path: Path) -> None:
    folder = tiny_models.silero(tmp_path / "s")
    place.add("vad/silero", folder)
    with (folder / "model.onnx").open("r+b") as file:
        file.write(b"changed in place")
    assert verified(place, "lake:vad/silero@1") == []
    place.resolve("lake:vad/silero@1")


def test_an_addition_that_was_killed_is_taken_up(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_models.silero(tmp_path / "s")
    put = FolderStore.put

    def killed(self: FolderStore, key: str, data: bytes | Path) -> None:
        if key.endswith("model.yaml"):
            raise KeyboardInterrupt
        put(self, key, data)

    monkeypatch.setattr(FolderStore, "put", killed)
    with pytest.raises(KeyboardInterrupt):
        place.add("vad/silero", folder)
    assert list_models(place.tables) == []
    monkeypatch.setattr(FolderStore, "put", put)
    assert place.add("vad/silero", folder).version == 1
    place.resolve("lake:vad/silero@1")


def test_a_version_that_another_writer_claimed_is_left_to_him(place: Place, tmp_path: Path) -> None:
    place.store.put_if_absent("models/vad/silero/1.json", b"of another")
    assert place.add("vad/silero", tiny_models.silero(tmp_path / "s")).version == 2


def test_another_licence_is_another_version(place: Place, tmp_path: Path) -> None:
    folder = tiny_models.silero(tmp_path / "s")
    place.add("vad/silero", folder)
    changed = place.add("vad/silero", folder, licence="Apache-2.0")
    assert (changed.version, changed.new) == (2, True)
    assert place.resolve("lake:vad/silero@1") == place.resolve("lake:vad/silero@2")


def test_absent_models_are_named(place: Place, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model lake:vad/silero@1 in the lake.*known: none"):
        place.resolve("lake:vad/silero@1")
    place.add("vad/silero", tiny_models.silero(tmp_path / "s"))
    with pytest.raises(ModelError, match=r"no model lake:vad/silero@2 in the lake: versions are 1"):
        place.resolve("lake:vad/silero@2")
    with pytest.raises(ModelError, match=r"names no version: the newest is lake:vad/silero@1"):
        place.resolve("lake:vad/silero")
    with pytest.raises(ModelError, match=r"known: vad/silero"):
        place.resolve("lake:vad/other@1")
    with pytest.raises(ModelError, match=r"no model builtin:whisper: built in are builtin:silero-vad"):
        place.resolve("builtin:whisper")
    with pytest.raises(ModelError, match="no folder"):
        place.resolve(f"path:{tmp_path}/none")


def altered(place: Place, key: str) -> None:
    """One bit of a registered file is another: same size, written anew."""
    path = place.root / key
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)


@pytest.mark.parametrize("seen_before", [False, True])
def test_an_altered_or_missing_file_is_found_at_submission(place: Place, tmp_path: Path, seen_before: bool) -> None:
    place.add("vad/silero", tiny_models.silero(tmp_path / "s"))
    if seen_before:
        place.resolve("lake:vad/silero@1")
    altered(place, "models/vad/silero/1/model.onnx")
    with pytest.raises(ModelError, match=r"lake:vad/silero@1 cannot be used: model\.onnx is altered"):
        place.resolve("lake:vad/silero@1")
    with pytest.raises(ModelError):  # and is not remembered as right
        place.resolve("lake:vad/silero@1")
    (place.root / "models/vad/silero/1/model.onnx").unlink()
    with pytest.raises(ModelError, match=r"model\.onnx is missing"):
        place.resolve("lake:vad/silero@1")


def test_a_model_that_was_seen_whole_is_not_read_again(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("vad/silero", tiny_models.silero(tmp_path / "s"))
    first = place.resolve("lake:vad/silero@1")

    def read(self: FolderStore, key: str, offset: int, length: int) -> bytes:
        raise AssertionError(f"{key} is read")

    monkeypatch.setattr(FolderStore, "get_range", read)
    assert place.resolve("lake:vad/silero@1") == first
    shutil.rmtree(place.cache)
    with pytest.raises(AssertionError):
        place.resolve("lake:vad/silero@1")


def test_the_same_bytes_are_the_same_model_wherever_they_lie(place: Place, tmp_path: Path) -> None:
    folder = tiny_models.silero(tmp_path / "s")
    place.add("vad/silero", folder)
    assert place.resolve("lake:vad/silero@1") == place.resolve(f"path:{folder}")


def test_a_row_that_contradicts_itself_is_refused(place: Place, tmp_path: Path) -> None:
    import pyarrow as pa

    place.add("vad/silero", tiny_models.silero(tmp_path / "s"))
    row = list_models(place.tables)[0]
    row |= {"version": 2, "model_hash": "0" * 64}
    place.tables.append("models", pa.Table.from_pylist([row], MODELS))
    with pytest.raises(ModelError, match="contradicts itself"):
        place.resolve("lake:vad/silero@2")


def test_a_lake_without_the_table_has_no_models(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    assert list_models(tables) == []
    with pytest.raises(ModelError, match="known: none"):
        find(tables, parse_registered("asr/x@1"))


def test_differences_name_the_file(tmp_path: Path) -> None:
    folder = tiny_models.silero(tmp_path)
    files = read_files(folder)
    assert differences(files, folder) == []
    os.truncate(folder / "model.onnx", 10)
    (folder / "model.yaml").unlink()
    assert differences(files, folder) == ["model.onnx is altered", "model.yaml is missing"]


def test_the_errors_are_lines_of_the_lake(place: Place) -> None:
    for uri in ("lake:a/b@1", "builtin:x", "path:/none", "x"):
        with pytest.raises(LakeError) as caught:
            place.resolve(uri)
        assert "\n" not in str(caught.value)
        assert uri.partition(":")[2].partition("@")[0] in str(caught.value)
