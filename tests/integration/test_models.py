"""Models end to end: registered by the command, chosen by URI, fetched by the workers, and never another one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.analyze import analyze_all, make_plan
from jobs.cli import Invocation
from jobs.models import add_model, with_choice
from jobs.quarantine import retry_all
from lake.analysis.registry import ANALYSES
from lake.catalog.runs import list_runs
from lake.engine import Engine
from lake.errors import ModelError, UsageError
from lake.model import Row
from lake.models.resolve import silero_path
from tests.support import tiny_models
from tests.support.analysis_media import encoded, scene, silence, tone, voice, wav
from tests.support.lakes import Lake, OneEngine, bucket_lake, command
from tests.support.minio import MinioServer

pytestmark = pytest.mark.timeout(400)


_WHOLE = encoded(scene(3), "PNG")
HURT = _WHOLE[:41] + bytes([255] * 40) + _WHOLE[81:]
"""Begins and ends as a picture does, and cannot be decoded."""


def recordings(folder: Path) -> Path:
    """A voice, a beep, a text, a picture, and a recording that no decoder can use."""
    folder.mkdir()
    (folder / "talk.wav").write_bytes(wav(np.concatenate([silence(1), voice(3), silence(1)])))
    (folder / "beep.wav").write_bytes(wav(np.concatenate([silence(1), tone(2, 440, 0.3), silence(1)])))
    (folder / "note.txt").write_text("the river and the bridge\n\nfire\n")
    (folder / "red.png").write_bytes(encoded(Image.new("RGB", (40, 30), (250, 10, 10)), "PNG"))
    return folder


@pytest.fixture
def stocked(lake: Lake, tmp_path: Path) -> Lake:
    """A lake on each engine in turn with recordings, and a cache of models of its own."""
    return stock(lake, tmp_path)


def stock(lake: Lake, tmp_path: Path) -> Lake:
    settings = lake.job.settings.model_copy(update={"cache_dir": tmp_path / "cache"})
    lake.job = replace(lake.job, settings=settings)
    lake.ingest(recordings(tmp_path / "in"))
    return lake


def add(lake: Lake, name: str, folder: Path) -> dict[str, Any]:
    return add_model(lake.job, Invocation(json=True), name, folder, "MIT")


def choose(lake: Lake, *models: str) -> None:
    lake.job = with_choice(lake.job, models, None)


def done(document: dict[str, Any]) -> dict[str, tuple[int, int, int]]:
    return {
        name: (counts["done"], counts["skipped"], counts["failed"]) for name, counts in document["analyses"].items()
    }


def found(lake: Lake, table: str) -> list[Row]:
    """Rows that found something."""
    return [row for row in lake.rows(table) if row["start_s"] is not None]


def test_every_analysis_with_a_registered_model(stocked: Lake, tmp_path: Path) -> None:
    asr = add(stocked, "asr/tiny", tiny_models.whisper(tmp_path / "w", seed=1))
    text = add(stocked, "text/tiny", tiny_models.text_embedding(tmp_path / "t"))
    labels = add(stocked, "image/colours", tiny_models.colours(tmp_path / "c"))
    choose(stocked, f"transcript={asr['uri']}", f"text_embedding={text['uri']}", f"image_labels={labels['uri']}")
    names = ("transcript", "text_embedding", "image_labels")
    assert done(stocked.analyze(*names)) == {
        "transcript": (2, 0, 0),
        "text_embedding": (1, 0, 0),
        "image_labels": (1, 0, 0),
    }
    assert all(1 < row["start_s"] < row["end_s"] < 4.2 for row in found(stocked, "feature_transcript"))
    assert found(stocked, "feature_transcript")
    (vector,) = stocked.rows("feature_text_embedding")
    assert vector["model_hash"] == text["model_hash"] and len(vector["embedding"]) == 4
    assert [row["label"] for row in stocked.rows("feature_image_labels")] == ["red", "green"]
    assert {row["model_hash"] for row in stocked.rows("feature_image_labels")} == {labels["model_hash"]}
    silero = hashlib.sha256(silero_path().read_bytes()).hexdigest()
    both = hashlib.sha256(f"asr {asr['model_hash']}\nvad {silero}\n".encode()).hexdigest()
    assert {row["model_hash"] for row in stocked.rows("feature_transcript")} == {both}
    assert done(stocked.analyze(*names)) == {name: (0, n, 0) for name, n in zip(names, (2, 1, 1), strict=True)}
    fetched = sorted(path.name for path in (tmp_path / "cache" / "models").iterdir() if path.is_dir())
    assert fetched == sorted([asr["model_hash"], text["model_hash"], labels["model_hash"]])


def test_another_model_computes_anew_and_the_same_bytes_do_not(stocked: Lake, tmp_path: Path) -> None:
    assert done(stocked.analyze("speech")) == {"speech": (2, 0, 0)}
    before = found(stocked, "feature_speech")
    add(stocked, "vad/loud", tiny_models.loud_vad(tmp_path / "v"))
    choose(stocked, "speech=lake:vad/loud@1")
    assert done(stocked.analyze("speech")) == {"speech": (2, 0, 0)}
    loud = [row for row in found(stocked, "feature_speech") if row not in before]
    assert (len(before), len(loud)) == (1, 2)  # the beep is speech to the other one
    assert {row["params_hash"] for row in loud} == {row["params_hash"] for row in before}
    assert {row["model_hash"] for row in loud}.isdisjoint({row["model_hash"] for row in before})
    for same in (f"path:{tmp_path}/v", "lake:vad/renamed@1"):
        add(stocked, "vad/renamed", tmp_path / "v")
        choose(stocked, f"speech={same}")
        assert done(stocked.analyze("speech")) == {"speech": (0, 2, 0)}
    choose(stocked, "speech=builtin:silero-vad")
    assert done(stocked.analyze("speech")) == {"speech": (0, 2, 0)}


def alter(lake: Lake, key: str) -> None:
    data = bytearray(lake.job.store.get(key))
    data[-1] ^= 1
    lake.job.store.put(key, bytes(data))


def lose(lake: Lake, key: str) -> None:
    lake.job.store.delete(key)


@pytest.mark.parametrize(("harm", "said"), [(alter, "is altered"), (lose, "is missing")])
@pytest.mark.parametrize("used_before", [False, True])
def test_a_hurt_model_fails_the_job_at_submission(
    local_lake: Lake, tmp_path: Path, harm: Callable[[Lake, str], None], said: str, used_before: bool
) -> None:
    lake = stock(local_lake, tmp_path)
    add(lake, "vad/loud", tiny_models.loud_vad(tmp_path / "v"))
    choose(lake, "speech=lake:vad/loud@1")
    if used_before:
        lake.analyze("speech")
    harm(lake, "models/vad/loud/1/model.onnx")
    versions = lake.versions()
    with pytest.raises(ModelError, match=rf"lake:vad/loud@1 cannot be used: model\.onnx {said}"):
        lake.analyze("speech")
    assert lake.versions() == versions
    with pytest.raises(ModelError):
        make_plan(lake.job, ["speech"])


def test_models_that_are_not_there_or_not_for_it(local_lake: Lake, tmp_path: Path) -> None:
    lake = stock(local_lake, tmp_path)
    add(lake, "vad/loud", tiny_models.loud_vad(tmp_path / "v"))
    versions = lake.versions()
    for uri, kind, said in (
        ("lake:vad/none@1", ModelError, "no model lake:vad/none@1"),
        ("lake:vad/loud", ModelError, "newest is lake:vad/loud@1"),
        (f"path:{tmp_path}/none", ModelError, "no folder"),
        ("hub:whisper", UsageError, "names no model"),
    ):
        lake.job = with_choice(lake.job, [f"speech={uri}"], None)
        with pytest.raises(kind, match=said):
            lake.analyze("speech")
    lake.job = with_choice(lake.job, ["speech=builtin:silero-vad", "transcript=lake:vad/loud@1"], None)
    with pytest.raises(UsageError, match="transcript needs a model for asr"):
        lake.analyze("transcript")
    lake.job = with_choice(lake.job, ["speach=lake:vad/loud@1"], None)
    with pytest.raises(UsageError, match="'speach', which is no analysis"):
        lake.analyze()
    assert lake.versions() == versions


def test_a_model_that_a_worker_cannot_load_fails_the_job_and_quarantines_nothing(stocked: Lake, tmp_path: Path) -> None:
    folder = tiny_models.loud_vad(tmp_path / "v")
    (folder / "model.onnx").write_bytes(b"no graph at all")
    choose(stocked, f"speech=path:{folder}")
    with pytest.raises(Exception, match="cannot load path:"):
        stocked.analyze("speech")
    assert stocked.rows("quarantine") == []
    assert stocked.rows("feature_speech") == []
    assert list_runs(stocked.job.tables, 1)[0]["state"] == "failed"


def test_a_device_that_no_worker_has_fails_the_job(stocked: Lake) -> None:
    stocked.job = with_choice(stocked.job, [], "cuda")
    with pytest.raises(Exception, match="device cuda is asked for"):
        stocked.analyze("speech")
    assert stocked.rows("quarantine") == []
    stocked.job = with_choice(stocked.job, [], "auto")
    assert done(stocked.analyze("speech")) == {"speech": (2, 0, 0)}


def test_the_plan_says_on_what_the_models_compute(local_lake: Lake) -> None:
    assert make_plan(local_lake.job, ["speech"])("x").context.node.device == "cpu"  # type: ignore[union-attr]
    on_gpu = with_choice(local_lake.job, [], "cuda")
    assert make_plan(on_gpu, ["speech"])("x").context.node.device == "cuda"  # type: ignore[union-attr]
    assert make_plan(on_gpu, ["speech"])("x").context.keys == make_plan(local_lake.job, ["speech"])("x").context.keys


def test_what_failed_with_one_model_is_tried_with_another(local_lake: Lake, tmp_path: Path) -> None:
    lake = stock(local_lake, tmp_path)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "hurt.png").write_bytes(HURT)
    lake.ingest(tmp_path / "more")
    add(lake, "image/a", tiny_models.colours(tmp_path / "a"))
    add(lake, "image/b", tiny_models.colours(tmp_path / "b", tiny_models.COLOURS + "# another\n"))
    choose(lake, "image_labels=lake:image/a@1")
    assert done(lake.analyze("image_labels")) == {"image_labels": (1, 0, 1)}
    assert done(lake.analyze("image_labels")) == {"image_labels": (0, 2, 0)}
    choose(lake, "image_labels=lake:image/b@1")
    assert done(lake.analyze("image_labels")) == {"image_labels": (1, 0, 1)}
    failed = [row["model_hash"] for row in lake.rows("quarantine") if row["analysis"] == "image_labels"]
    assert len(set(failed)) == 2 and None not in failed


def test_a_retry_leaves_out_what_has_no_model_any_more(local_lake: Lake, tmp_path: Path) -> None:
    lake = stock(local_lake, tmp_path)
    (tmp_path / "in" / "hurt.png").write_bytes(HURT)
    lake.ingest(tmp_path / "in")
    add(lake, "image/a", tiny_models.colours(tmp_path / "a"))
    plain = lake.job
    choose(lake, "image_labels=lake:image/a@1")
    lake.analyze("image_labels")
    engines = OneEngine(plain, lake.engine)
    with_model = retry_all(lake.job, Invocation(json=True), engines, "analyze", dry_run=True)
    without = retry_all(plain, Invocation(json=True), engines, "analyze", dry_run=True)
    assert (with_model["tried"], with_model["left_out"]) == (1, {})
    assert (without["tried"], without["left_out"]) == (0, {"image_labels": 1})
    words = ("quarantine", "retry", "--stage", "analyze")
    status, document, said_so = said(lake, *words)
    assert (status, document["tried"], said_so) == (0, 0, "")
    status, document, _ = said(lake, *words, "--model", "image_labels=lake:image/a@1")
    assert (status, document["tried"], document["failed"], document["left_out"]) == (0, 1, 1, {})


def test_analyze_without_names_runs_what_has_its_models(local_lake: Lake, tmp_path: Path) -> None:
    lake = stock(local_lake, tmp_path)
    plain = {name for name, analysis in ANALYSES.items() if None not in analysis.models.values()}
    assert set(make_plan(lake.job, ())("x").context.analyses) == plain
    add(lake, "image/a", tiny_models.colours(tmp_path / "a"))
    choose(lake, "image_labels=lake:image/a@1")
    assert set(make_plan(lake.job, ())("x").context.analyses) == plain | {"image_labels"}


OWN = """
import pyarrow as pa
from lake.analysis.base import Analysis
from lake.analysis.image_hash import decoded
from lake.models.loaded import engine_for

def run(media, params):
    (label, score), *_ = engine_for(params, "image_labels").labels(decoded(media, 10**8))
    yield {"colour": label}

FIELDS = pa.schema([("colour", pa.string())])
COLOUR = Analysis("colour", "1", ("image",), (), FIELDS, run, models={"image_labels": None})
"""


def test_an_analysis_of_a_users_own_takes_a_model(stocked: Lake, tmp_path: Path) -> None:
    (tmp_path / "colour.py").write_text(OWN)
    own = str(tmp_path / "colour.py")
    engines = OneEngine(stocked.job, stocked.engine)
    with pytest.raises(UsageError, match="colour needs a model for image_labels"):
        analyze_all(stocked.job, Invocation(json=True), (), engines, modules=[own])
    added = add(stocked, "image/a", tiny_models.colours(tmp_path / "a"))
    choose(stocked, f"colour={added['uri']}")
    analyze_all(stocked.job, Invocation(json=True), (), engines, modules=[own])
    (row,) = stocked.rows("feature_colour")
    assert (row["colour"], row["model_hash"]) == ("red", added["model_hash"])


def test_models_in_a_bucket(
    minio: MinioServer, bucket: str, tmp_path: Path, local_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = stock(bucket_lake(minio, bucket, local_engine, monkeypatch), tmp_path)
    added = add(lake, "asr/tiny", tiny_models.whisper(tmp_path / "w", seed=1))
    choose(lake, f"transcript={added['uri']}")
    assert done(lake.analyze("transcript")) == {"transcript": (2, 0, 0)}
    assert done(lake.analyze("transcript")) == {"transcript": (0, 2, 0)}
    alter(lake, "models/asr/tiny/1/model.bin")
    with pytest.raises(ModelError, match=r"lake:asr/tiny@1 cannot be used: model\.bin is altered"):
        lake.analyze("transcript")


def said(lake: Lake, *arguments: str) -> tuple[int, dict[str, Any], str]:
    process = command(lake, "--json", *arguments)
    out, err = process.communicate(timeout=120)
    return process.returncode, json.loads(out), err


def test_the_verbs(local_lake: Lake, tmp_path: Path) -> None:
    folder = str(tiny_models.silero(tmp_path / "s"))
    status, tried, _ = said(local_lake, "models", "add", "vad/silero", folder, "--licence", "MIT", "--dry-run")
    assert (status, tried["added"], tried["version"], local_lake.rows("models")) == (0, False, None, [])
    status, added, _ = said(local_lake, "models", "add", "vad/silero", folder, "--licence", "MIT")
    assert (status, added["uri"], added["added"]) == (0, "lake:vad/silero@1", True)
    status, again, _ = said(local_lake, "models", "add", "vad/silero", folder, "--licence", "MIT")
    assert (status, again["uri"], again["added"]) == (0, "lake:vad/silero@1", False)
    assert [(run["verb"], run["state"]) for run in list_runs(local_lake.job.tables, 9)] == [("models add", "done")] * 2
    status, listed, _ = said(local_lake, "models", "list")
    assert [(row["name"], row["version"], row["task"]) for row in listed["rows"]] == [("vad/silero", 1, "vad")]
    status, shown, _ = said(local_lake, "models", "show", "vad/silero")
    assert status == 0 and shown["model_hash"] == added["model_hash"] and shown["files"] == added["files"]
    status, verified, _ = said(local_lake, "models", "verify")
    assert (status, verified["models"]) == (0, [{"uri": "lake:vad/silero@1", "ok": True, "problems": []}])
    alter(local_lake, "models/vad/silero/1/model.onnx")
    status, verified, _ = said(local_lake, "models", "verify", "vad/silero@1")
    assert (status, verified["models"][0]["problems"]) == (3, ["model.onnx is altered"])
    status, failed, err = said(local_lake, "models", "show", "vad/none")
    assert status == 1 and "no model lake:vad/none" in failed["error"] and len(err.strip().splitlines()) == 1


def test_what_cannot_be_loaded_is_not_registered(local_lake: Lake, tmp_path: Path) -> None:
    folder = tiny_models.whisper(tmp_path / "w")
    (folder / "model.bin").write_bytes(b"no weights")
    status, failed, err = said(local_lake, "models", "add", "asr/x", str(folder), "--licence", "MIT")
    assert status == 1 and "cannot load" in failed["error"] and len(err.strip().splitlines()) == 1
    assert local_lake.rows("models") == [] and list(local_lake.job.store.list("models")) == []


def test_the_command_takes_a_model_and_a_device(local_lake: Lake, tmp_path: Path) -> None:
    folder = tiny_models.loud_vad(tmp_path / "v")
    local_lake.ingest(recordings(tmp_path / "in"))
    model = f"speech=path:{folder}"
    status, planned, _ = said(local_lake, "analyze", "speech", "--model", model, "--dry-run")
    assert (status, planned["analyses"]["speech"]["pending"]) == (0, 2)
    status, done_, _ = said(local_lake, "analyze", "speech", "--model", model, "--device", "auto")
    assert (status, done_["analyses"]["speech"]["done"]) == (0, 2)
    assert len(found(local_lake, "feature_speech")) == 2
    status, failed, _ = said(local_lake, "analyze", "speech", "--model", "speech")
    assert status == 2 and "write ANALYSIS=URI" in failed["error"]
