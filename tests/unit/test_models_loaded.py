"""Loading in the decoding child: once each, counted, on the device that was asked for, without a network."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lake.analysis.models import Node, load, on_this_machine, runnable, with_models
from lake.analysis.plan import WorkItem
from lake.analysis.registry import ANALYSES
from lake.analysis.worker import AnalysisContext, _sandbox, run_analysis_task
from lake.errors import ModelError, UsageError
from lake.media.limits import Limits
from lake.media.sandbox import Call, Sandbox
from lake.models import loaded
from lake.models.base import Model
from lake.models.device import choose
from lake.models.loaded import entry_of
from lake.models.resolve import BUILTIN, resolve
from tests.support import tiny_models
from tests.support.analysis_media import encoded, scene, silence, tone, voice, wav
from tests.support.packs import write_packs
from tests.unit.test_models import Place, place

__all__ = ["place"]

TALK = wav(np.concatenate([silence(1), voice(2), silence(1)]))
BEEP = wav(np.concatenate([silence(1), tone(2, 440, 0.3), silence(1)]))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Limits()) as made:
        yield made


def at(place: Place, folder: Path) -> Model:
    return resolve(f"path:{folder}", place.tables, place.store, place.cache)


def call(name: str, params: object, data: bytes) -> Call:
    kinds = {"audio": "audio/x-wav", "document": "text/plain", "image": "image/png"}
    kind = ANALYSES[name].media_kinds[0]
    args = {"analyses": {name: params}, "sha256": "", "content_type": kinds[kind], "media_kind": kind, "path": None}
    return Call("one", "analyze", {**args, "data": data}, time_limit_s=60)


def test_models_are_loaded_once_a_child_and_counted(place: Place, tmp_path: Path, sandbox: Sandbox) -> None:
    vad = at(place, tiny_models.loud_vad(tmp_path / "v"))
    speech = with_models(ANALYSES["speech"], {"speech": vad.uri}, lambda uri: vad)
    for _ in range(3):  # tasks
        ready = on_this_machine({"speech": speech}, ["speech"], Node(str(place.cache)), place.store, sandbox)
        outcomes = list(sandbox.map(call("speech", ready["speech"].params, BEEP) for _ in range(4)))
        assert all(len(outcome.value["speech"]["rows"]) == 1 for outcome in outcomes)
    entry = ready["speech"].params["models"]["vad"]
    assert load(sandbox, [entry]) == {vad.uri: 1}
    sandbox.close()
    assert load(sandbox, [entry]) == {vad.uri: 1}
    assert sandbox.children_started == 2


def test_analyses_of_one_recording_load_their_common_model_once(place: Place, tmp_path: Path, sandbox: Sandbox) -> None:
    vad, asr = at(place, tiny_models.silero(tmp_path / "v")), at(place, tiny_models.whisper(tmp_path / "w", seed=1))
    both = {"vad": entry_of(vad, tmp_path / "v", "cpu"), "asr": entry_of(asr, tmp_path / "w", "cpu")}
    shared = call("speech", {**ANALYSES["speech"].params, "models": both}, TALK)
    shared.args["analyses"]["transcript"] = {**ANALYSES["transcript"].params, "models": both}
    for _ in range(5):  # fresh children: the analyses, in threads, are the first to ask
        (outcome,) = sandbox.map([shared])
        assert outcome.value["speech"]["rows"] and outcome.value["transcript"]["rows"]
        assert load(sandbox, list(both.values())) == {vad.uri: 1, asr.uri: 1}
        sandbox.close()


def test_threads_that_ask_at_once_load_a_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    def slow(entry: dict[str, str]) -> object:
        started.append(entry["uri"])
        time.sleep(0.1)
        return object()

    monkeypatch.setattr(loaded, "_load", slow)
    entry = {"uri": "path:/slow", "format": "onnx", "folder": "/slow", "model_hash": "00", "device": "cpu"}
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(loaded.engine, [entry] * 4))
    assert started == ["path:/slow"] and len(set(map(id, found))) == 1 and loaded.LOADS["path:/slow"] == 1


def test_a_child_that_was_replaced_loads_the_model_again(place: Place, tmp_path: Path, sandbox: Sandbox) -> None:
    entry = entry_of(at(place, tiny_models.loud_vad(tmp_path / "v")), tmp_path / "v", "cpu")
    load(sandbox, [entry])
    hurt = call("speech", {"models": {"vad": entry}}, BEEP)
    hurt.args["analyses"] = {"speech": None}  # fails in the child, which lives on
    good = call("speech", {**ANALYSES["speech"].params, "models": {"vad": entry}}, BEEP)
    first, second = sandbox.map([hurt, good])
    assert "error_class" in first.value["speech"] and len(second.value["speech"]["rows"]) == 1
    sandbox.close()
    (third,) = sandbox.map([good])
    assert third.value == second.value


def test_a_child_that_replaces_another_loads_before_its_first_recording(
    place: Place, tmp_path: Path, sandbox: Sandbox
) -> None:
    folder = tiny_models.loud_vad(tmp_path / "v")
    load(sandbox, [entry_of(at(place, folder), folder, "cpu")])
    beep = call("loudness", ANALYSES["loudness"].params, BEEP)

    def killed_and_asked() -> list[bool]:
        assert sandbox._child is not None
        sandbox._child._process.kill()
        return [outcome.failure is None for outcome in sandbox.map([beep, beep])]

    assert killed_and_asked() == [False, True]
    assert sandbox.model_loads == sandbox.children_started == 2
    (folder / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelError, match=rf"^cannot load path:{folder}: the model path:.*model\.onnx"):
        killed_and_asked()


def test_models_of_the_task_before_are_not_loaded_again(place: Place, tmp_path: Path, sandbox: Sandbox) -> None:
    folder = tiny_models.loud_vad(tmp_path / "v")
    load(sandbox, [entry_of(at(place, folder), folder, "cpu")])
    loudness = {"loudness": ANALYSES["loudness"]}
    on_this_machine(loudness, ["loudness"], None, place.store, sandbox)
    sandbox.close()
    (outcome,) = sandbox.map([call("loudness", ANALYSES["loudness"].params, BEEP)])
    assert outcome.failure is None and (sandbox.children_started, sandbox.model_loads) == (2, 1)


def test_a_model_that_is_missed_at_a_recording_fails_the_job(place: Place, tmp_path: Path) -> None:
    (ref,) = write_packs(place.store, tmp_path / "packing", [(encoded(scene(3), "PNG"), "image/png", None)])
    labels = ANALYSES["image_labels"]
    limits = Limits(output_bytes=200_000_002)  # limits of its own: a sandbox of its own
    every = {labels.name: labels}, {labels.name: labels.key()}, {labels.name: labels.table}
    context = AnalysisContext(place.store, *every, "run", limits, 10**7, None)
    item = WorkItem(ref, "image", "image/png", (labels.name,))
    try:
        with pytest.raises(ModelError, match=r"^no model for image_labels was given"):
            list(run_analysis_task(context, pickle.dumps([item])))
    finally:
        _sandbox(limits, "").close()
        _sandbox.cache_clear()


def test_the_vad_that_was_chosen_is_the_one_that_judges(place: Place, tmp_path: Path, sandbox: Sandbox) -> None:
    def spans(uri: str | None, data: bytes) -> int:
        chosen = {"speech": uri} if uri else {}
        speech = with_models(
            ANALYSES["speech"], chosen, lambda each: resolve(each, place.tables, place.store, place.cache)
        )
        ready = on_this_machine({"speech": speech}, ["speech"], Node(str(place.cache)), place.store, sandbox)
        (outcome,) = sandbox.map([call("speech", ready["speech"].params, data)])
        return len(outcome.value["speech"]["rows"])

    place.add("vad/loud", tiny_models.loud_vad(tmp_path / "loud"))
    place.add("vad/silero", tiny_models.silero(tmp_path / "silero"))
    for own in (None, "builtin:silero-vad", "lake:vad/silero@1"):
        assert (spans(own, TALK), spans(own, BEEP)) == (1, 0)
    assert spans("lake:vad/loud@1", BEEP) == 1


def test_analyses_without_models_start_no_child_for_them(place: Place, sandbox: Sandbox) -> None:
    loudness = {"loudness": ANALYSES["loudness"]}
    assert on_this_machine(loudness, ["loudness"], None, place.store, sandbox) == loudness
    assert sandbox.children_started == 0


def test_models_of_analyses_that_a_task_lacks_are_not_loaded(place: Place, tmp_path: Path, sandbox: Sandbox) -> None:
    vad = at(place, tiny_models.loud_vad(tmp_path / "v"))
    speech = with_models(ANALYSES["speech"], {"speech": vad.uri}, lambda uri: vad)
    both = {"speech": speech, "loudness": ANALYSES["loudness"]}
    on_this_machine(both, ["loudness"], Node(str(place.cache)), place.store, sandbox)
    assert sandbox.children_started == 0


@pytest.mark.parametrize("harm", ["not onnx", "not a silero"])
def test_a_model_that_cannot_be_loaded_fails_the_job_by_name(
    place: Place, tmp_path: Path, sandbox: Sandbox, harm: str
) -> None:
    folder = tiny_models.loud_vad(tmp_path / "v")
    other = b"no graph" if harm == "not onnx" else (tiny_models.colours(tmp_path / "c") / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(other)
    vad = at(place, folder)
    speech = with_models(ANALYSES["speech"], {"speech": vad.uri}, lambda uri: vad)
    with pytest.raises(ModelError, match=rf"cannot load path:{folder}: .*model\.onnx"):
        on_this_machine({"speech": speech}, ["speech"], Node(str(place.cache)), place.store, sandbox)


def test_a_device_that_is_not_there_fails_the_job_by_name(place: Place, tmp_path: Path, sandbox: Sandbox) -> None:
    folders = [tiny_models.loud_vad(tmp_path / "v"), tiny_models.whisper(tmp_path / "w")]
    for folder, library in zip(folders, ("onnxruntime", "ctranslate2"), strict=True):
        with pytest.raises(ModelError, match=rf"cannot load path:.*device cuda is asked for, and {library}"):
            load(sandbox, [entry_of(at(place, folder), folder, "cuda")])
        load(sandbox, [entry_of(at(place, folder), folder, "auto")])


def test_the_device_is_chosen_where_the_model_is_loaded() -> None:
    for form in ("onnx", "faster-whisper"):
        assert choose("cpu", form, lambda form: True) == "cpu"
        assert choose("cuda", form, lambda form: True) == "cuda"
        assert choose("auto", form, lambda form: True) == "cuda"
        assert choose("auto", form, lambda form: False) == "cpu"
        with pytest.raises(ModelError, match="use cpu or auto"):
            choose("cuda", form, lambda form: False)


def test_the_device_travels_to_the_child_and_is_no_part_of_the_key(place: Place, sandbox: Sandbox) -> None:
    speech = with_models(ANALYSES["speech"], {}, lambda uri: BUILTIN["silero-vad"]())
    ready = on_this_machine({"speech": speech}, ["speech"], Node(str(place.cache), "auto"), place.store, sandbox)
    assert ready["speech"].params["models"]["vad"]["device"] == "auto"
    assert speech.key() == ANALYSES["speech"].key()


def test_onnxruntime_that_takes_another_device_is_no_success(place: Place, tmp_path: Path) -> None:
    from lake.models.engines.session import session

    folder = tiny_models.loud_vad(tmp_path / "v")
    with pytest.warns(UserWarning), pytest.raises(ModelError, match="was to be loaded on cuda, onnxruntime took CPU"):
        session(folder / "model.onnx", "cuda")


def test_a_model_that_needs_more_memory_than_a_child_has(place: Place, tmp_path: Path) -> None:
    folder = tiny_models.whisper(tmp_path / "w", width=1024)  # 120 MB of weights
    with Sandbox(Limits(memory_bytes=700 * 1024**2)) as small, pytest.raises(ModelError, match=r"cannot load path:"):
        load(small, [entry_of(at(place, folder), folder, "cpu")])


def test_without_a_model_there_is_no_analysis_that_needs_one() -> None:
    plain = [analysis.name for analysis in runnable(ANALYSES.values(), {})]
    assert "speech" in plain and not {"transcript", "text_embedding", "image_labels"} & set(plain)
    assert "transcript" in [a.name for a in runnable(ANALYSES.values(), {"transcript": "lake:asr/x@1"})]
    with pytest.raises(UsageError, match=r"transcript needs a model for asr: .*--model transcript=URI"):
        with_models(ANALYSES["transcript"], {}, lambda uri: BUILTIN["silero-vad"]())


def test_models_fill_the_tasks_they_are_for(place: Place, tmp_path: Path) -> None:
    known = {
        "v": at(place, tiny_models.loud_vad(tmp_path / "v")),
        "w": at(place, tiny_models.whisper(tmp_path / "w")),
        "builtin:silero-vad": BUILTIN["silero-vad"](),
    }

    def chosen(name: str, *uris: str) -> dict[str, str]:
        return {
            task: m.uri for task, m in with_models(ANALYSES[name], {name: uris}, known.__getitem__).resolved.items()
        }

    assert chosen("transcript", "w") == {"asr": known["w"].uri, "vad": "builtin:silero-vad"}
    assert chosen("transcript", "v", "w") == {"asr": known["w"].uri, "vad": known["v"].uri}
    with pytest.raises(UsageError, match="w is a model for asr, and speech needs one for vad"):
        chosen("speech", "w")
    with pytest.raises(UsageError, match="two models for vad"):
        chosen("transcript", "v", "w", "builtin:silero-vad")
    with pytest.raises(UsageError, match="loudness needs one for nothing"):
        chosen("loudness", "v")


def test_another_model_is_another_key_and_its_name_is_none(place: Place, tmp_path: Path) -> None:
    folder = tiny_models.whisper(tmp_path / "w")
    known = {
        "first": at(place, folder),
        "renamed": at(place, Path(str(folder)).rename(tmp_path / "moved")),
        "second": at(place, tiny_models.whisper(tmp_path / "w2", seed=2)),
        "vad": at(place, tiny_models.loud_vad(tmp_path / "v")),
        "builtin:silero-vad": BUILTIN["silero-vad"](),
    }

    def key(*uris: str) -> object:
        return with_models(ANALYSES["transcript"], {"transcript": uris}, known.__getitem__).key()

    assert key("first") == key("renamed")
    assert len({key("first"), key("second"), key("first", "vad"), key("second", "vad")}) == 4
