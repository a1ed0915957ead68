"""A model on a machine: whole or not there, fetched once by many, healed when it is altered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lake.errors import ModelError, StoreUnavailable
from lake.models.base import Model, differences
from lake.models.cache import _CHECKED, fetched, localized
from lake.models.registry import find, of_row
from lake.models.resolve import BUILTIN, resolve
from lake.models.uri import parse
from lake.store.objects import FolderStore
from tests.support import tiny_models
from tests.support.lakes import ROOT
from tests.unit.test_models import Place, altered, place

__all__ = ["place"]

NAME = "asr/tiny@1"


@pytest.fixture
def model(place: Place, tmp_path: Path) -> Model:
    place.add("asr/tiny", tiny_models.whisper(tmp_path / "whisper"))
    return of_row(find(place.tables, parse(f"lake:{NAME}")))


def fetcher(place: Place, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.fetcher", str(place.root), str(place.cache), NAME, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_of_processes_that_start_at_once_one_fetches(place: Place, model: Model) -> None:
    processes = [fetcher(place) for _ in range(4)]
    assert [line(each) for each in processes] == ["ready"] * 4
    for each in processes:
        go(each)
    found = [json.loads(line(each)) for each in processes]
    for each in processes:
        assert each.wait(30) == 0
    assert {each["folder"] for each in found} == {str(place.cache / "models" / model.model_hash)}
    assert sorted(each["reads"] for each in found)[:3] == [0, 0, 0]
    assert max(each["reads"] for each in found) >= 14  # 2 MB in pieces of 200 kB, and the small files
    assert differences(model.files, Path(found[0]["folder"])) == []


def test_a_process_killed_while_it_fetches_leaves_nothing_that_is_taken_for_a_model(place: Place, model: Model) -> None:
    killed = fetcher(place, "6")
    assert line(killed) == "ready"
    go(killed)
    assert line(killed) == "stopped"
    folder = place.cache / "models" / model.model_hash
    assert not folder.exists()
    assert len(list(folder.parent.glob("*.part-*"))) == 1
    killed.kill()
    killed.wait()
    assert fetched(model, place.store, place.cache) == folder
    assert differences(model.files, folder) == []
    assert list(folder.parent.glob("*.part-*")) == []


def test_the_cache_is_by_content(place: Place, model: Model, tmp_path: Path) -> None:
    place.add("asr/same", tmp_path / "whisper")
    other = of_row(find(place.tables, parse("lake:asr/same@1")))
    assert fetched(other, place.store, place.cache) == fetched(model, place.store, place.cache)


@pytest.mark.parametrize("harm", ["bytes", "missing", "cut"])
def test_a_copy_that_was_altered_is_fetched_anew(place: Place, model: Model, harm: str) -> None:
    copy = localized(model, place.store, place.cache) / "model.bin"
    if harm == "bytes":
        copy.write_bytes(bytes(copy.stat().st_size))
    elif harm == "cut":
        os.truncate(copy, 100)
    else:
        copy.unlink()
    _CHECKED.clear()  # as in another process
    assert differences(model.files, localized(model, place.store, place.cache)) == []


def test_a_copy_that_was_deleted_is_fetched_anew_by_the_same_process(place: Place, model: Model) -> None:
    import shutil

    shutil.rmtree(localized(model, place.store, place.cache))
    assert differences(model.files, localized(model, place.store, place.cache)) == []


def test_a_copy_is_compared_once_a_process(place: Place, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = localized(model, place.store, place.cache)
    monkeypatch.setattr("lake.models.cache.differences", None)
    assert localized(model, place.store, place.cache) == folder


def test_what_the_store_gives_is_compared_before_it_counts(place: Place, model: Model) -> None:
    altered(place, "models/asr/tiny/1/model.bin")
    with pytest.raises(ModelError, match=r"lake:asr/tiny@1 cannot be used: model\.bin is altered"):
        localized(model, place.store, place.cache)
    (place.root / "models/asr/tiny/1/config.json").unlink()
    with pytest.raises(ModelError, match=r"lake:asr/tiny@1 cannot be used: no object .*config\.json"):
        localized(model, place.store, place.cache)
    assert [path.suffix for path in (place.cache / "models").iterdir()] == [".lock"]


def test_a_store_that_does_not_answer_is_no_fault_of_the_model(
    place: Place, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(self: FolderStore, key: str, offset: int, length: int) -> bytes:
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(FolderStore, "get_range", unavailable)
    with pytest.raises(StoreUnavailable):
        localized(model, place.store, place.cache)


def test_no_place_for_models_is_told(place: Place, model: Model) -> None:
    place.cache.write_text("a file where the folder should be")
    with pytest.raises(ModelError, match=r"no place for models at .*: set LAKE_CACHE"):
        localized(model, place.store, place.cache)


def test_a_full_disk_names_the_model(place: Place, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lake.models.cache._fetch", full)
    with pytest.raises(ModelError, match=r"lake:asr/tiny@1 does not get to .*No space left"):
        localized(model, place.store, place.cache)


def test_other_schemes_lie_here_already_and_are_compared(place: Place, tmp_path: Path) -> None:
    builtin = BUILTIN["silero-vad"]()
    assert (localized(builtin, place.store, place.cache) / "silero_vad_v6.onnx").exists()
    folder = tiny_models.silero(tmp_path / "s")
    named = resolve(f"path:{folder}", place.tables, place.store, place.cache)
    assert localized(named, place.store, place.cache) == folder
    assert not (place.cache / "models").exists()
    _CHECKED.clear()
    (folder / "model.onnx").write_bytes(b"another version")
    with pytest.raises(ModelError, match=r"is not the same on .* as where the job was submitted: model\.onnx is alt"):
        localized(named, place.store, place.cache)
