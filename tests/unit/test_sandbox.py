"""Hostile recordings cost themselves only: a real child is crashed, hung and flooded."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgpack
import psutil
import pytest

from lake.analysis.user_module import UserModule
from lake.errors import LakeError
from lake.media import child_process
from lake.media.limits import Limits
from lake.media.sandbox import Call, Sandbox

LIMITS = Limits(time_s=5.0, memory_bytes=2 * 1024**3, output_bytes=1024 * 1024)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(LIMITS, functions="tests.support.hostile:FUNCTIONS") as made:
        yield made


def echo(number: int) -> Call:
    return Call(str(number), "echo", {"value": number})


def test_outcomes_come_in_the_order_of_the_calls(sandbox: Sandbox) -> None:
    assert [o.value for o in sandbox.map(echo(n) for n in range(100))] == list(range(100))
    assert sandbox.children_started == 1


@pytest.mark.parametrize(
    ("function", "args", "error_class", "said"),
    [
        ("leave", {}, "DecoderCrashed", "exit status 3"),
        ("crash", {}, "DecoderCrashed", "signal 11"),
        ("hang", {}, "LimitExceeded", "within 0.5 s"),
        ("spin", {}, "LimitExceeded", "within 0.5 s"),
        ("eat", {}, "LimitExceeded", "memory"),
        ("flood", {"bytes": 2 * 1024 * 1024}, "LimitExceeded", "result of"),
        ("fail", {}, "ValueError", "two lines"),
        ("give_object", {}, "TypeError", "cannot be sent: a builtins.object is no plain value"),
    ],
)
def test_a_hostile_call_costs_itself_only(
    sandbox: Sandbox, function: str, args: dict[str, int], error_class: str, said: str
) -> None:
    calls = [echo(0), echo(1), Call("bad", function, args, time_limit_s=0.5), echo(3), echo(4)]
    outcomes = {o.id: o for o in sandbox.map(calls)}
    assert [outcomes[str(n)].value for n in (0, 1, 3, 4)] == [0, 1, 3, 4]
    failure = outcomes["bad"].failure
    assert failure is not None
    assert (failure.error_class, said in failure.message) == (error_class, True)


@pytest.mark.parametrize(
    "said",
    [b"", b"\xc1", b"\x91" * 5000, b"\x81\x90\x01", msgpack.packb(7)]
    + [msgpack.packb({"value": 1, **wrong}) for wrong in ({}, {"seconds": "x"}, {"seconds": float("nan")})]
    + [msgpack.packb({"seconds": 0.1, **wrong}) for wrong in ({"model_loads": 2**60}, {"error_class": 1})],
)
def test_what_is_no_answer_costs_that_recording_only(sandbox: Sandbox, said: bytes) -> None:
    outcomes = {o.id: o for o in sandbox.map([echo(0), Call("bad", "babble", {"said": said}), echo(2)])}
    assert [outcomes[str(n)].value for n in (0, 2)] == [0, 2]
    failure = outcomes["bad"].failure
    assert failure is not None and failure.error_class == "DecoderCrashed"


def test_several_hostile_calls_in_a_row(sandbox: Sandbox) -> None:
    calls = [Call(str(n), "leave" if n % 3 == 0 else "echo", {"value": n}) for n in range(12)]
    outcomes = list(sandbox.map(calls))
    assert [o.value for o in outcomes if o.failure is None] == [n for n in range(12) if n % 3]
    assert sandbox.children_started == 5


def test_who_comes_after_a_map_that_was_broken_off_gets_his_own_answers(sandbox: Sandbox) -> None:
    def calls() -> Iterator[Call]:
        yield from (echo(1), echo(2))
        raise OSError("the store is away")

    with pytest.raises(OSError, match="away"):
        list(sandbox.map(calls()))
    left = sandbox.map([echo(3), echo(4)])
    assert next(left).value == 3
    assert [o.value for o in sandbox.map([echo(5)])] == [5]


@pytest.mark.parametrize("function", ["call_home", "run_program"])
def test_the_child_reaches_no_network_and_starts_no_program(sandbox: Sandbox, function: str) -> None:
    (outcome,) = sandbox.map([Call("x", function, {})])
    assert outcome.failure is not None
    assert "PermissionError" in outcome.failure.message


def test_large_content_goes_to_the_child_and_back(sandbox: Sandbox) -> None:
    content = os.urandom(700_000)
    assert [o.value for o in sandbox.map([Call("x", "echo", {"value": content})] * 40)] == [content] * 40


def test_the_peak_of_memory_is_known_also_of_children_that_ended(sandbox: Sandbox) -> None:
    assert sandbox.peak_memory_bytes is None
    list(sandbox.map([echo(1)]))
    before = sandbox.peak_memory_bytes
    assert before is not None
    list(sandbox.map([Call("big", "fill", {"bytes": 300_000_000}), Call("late", "hang", {}, time_limit_s=0.5)]))
    list(sandbox.map([echo(2)]))
    assert sandbox.children_started == 2
    peak = sandbox.peak_memory_bytes
    assert peak is not None and before + 250_000_000 < peak < before + 400_000_000


def test_the_child_dies_with_its_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "from lake.media.limits import Limits\nfrom lake.media.sandbox import Call, Sandbox\nimport time\n"
        "s = Sandbox(Limits(), functions='tests.support.hostile:FUNCTIONS')\n"
        "print(next(s.map([Call('1', 'echo', {'value': 1})])).value, s._child._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([".", *sys.path])}
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline().split()[1]))
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("source", "memory_bytes", "said"),
    [
        ("raise ImportError('no codec here')", 2 * 1024**3, r"exit status 1, ImportError: no codec here\)"),
        ("import os; os.abort()", 2 * 1024**3, r"signal 6\)"),
        ("FUNCTIONS = {}", 1, r"limits\.memory_bytes \(1\)"),
        ("import time; time.sleep(3600)", 2 * 1024**3, r"not ready within 1 s\)"),
    ],
    ids=["raises", "crashes", "has no memory", "hangs"],
)
def test_a_child_that_does_not_start_is_an_error_and_costs_no_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, memory_bytes: int, said: str
) -> None:
    (tmp_path / "never_starts.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    if "sleep" in source:
        monkeypatch.setattr(child_process, "START_LIMIT_S", 1.0)
    with Sandbox(Limits(memory_bytes=memory_bytes), functions="never_starts:FUNCTIONS") as sandbox:
        with pytest.raises(LakeError, match=rf"^the decoding child does not start on {os.uname().nodename} .*{said}"):
            list(sandbox.map([echo(1), echo(2)]))
        assert sandbox.children_started == 2


def test_a_child_that_starts_at_the_second_try_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "starts_later.py").write_text(
        "import os, pathlib\nfrom tests.support.hostile import FUNCTIONS\n"
        f"tried = pathlib.Path({str(tmp_path / 'tried')!r})\n"
        "if not tried.exists():\n    tried.touch()\n    os._exit(1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with Sandbox(LIMITS, functions="starts_later:FUNCTIONS") as sandbox:
        assert [o.value for o in sandbox.map([echo(1), echo(2)])] == [1, 2]
        assert sandbox.children_started == 2


OWN = """
import time
import pyarrow as pa
from lake.analysis.base import Analysis

def endless(media, params):
    while True:
        pass

def size(media, params):
    yield {"size": len(media.data)}

FIELDS = pa.schema([("size", pa.int64())])
ENDLESS = Analysis("endless", "1", ("audio",), (), FIELDS, endless)
time.sleep(0.2)  # the file is run once, also where two of its analyses come to it at once
SIZE = Analysis("size", "1", ("audio",), (), FIELDS, size)
AGAIN = Analysis("again", "1", ("audio",), (), FIELDS, size)
"""


def analyze(source: str, number: int, *names: str) -> Call:
    """Analyses of a user's file on so many bytes."""
    args = {
        "analyses": {name: {} for name in names},
        "modules": dict.fromkeys(names, UserModule("own.py", source).to_plain()),
        "limits_s": {name: 1.0 if name == "endless" else 500.0 for name in names},
        "sha256": "0" * 64,
        "content_type": "audio/x-wav",
        "media_kind": "audio",
        "data": bytes(number),
        "path": None,
    }
    return Call(str(number), "analyze", args, time_limit_s=501.0)


def test_of_several_analyses_of_a_recording_the_endless_one_alone_fails_and_its_child_ends() -> None:
    with Sandbox(LIMITS) as sandbox:
        calls = [analyze(OWN, 1, "size", "again"), analyze(OWN, 2, "endless", "size"), analyze(OWN, 3, "size")]
        first, second, third = sandbox.map(calls)
        assert sandbox.children_started == 2
    assert first.value == {"size": {"rows": [{"size": 1}]}, "again": {"rows": [{"size": 1}]}}
    assert third.value == {"size": {"rows": [{"size": 3}]}}
    assert second.value["size"] == {"rows": [{"size": 2}]}
    assert second.value["endless"] == {"error_class": "LimitExceeded", "message": "no result within 1 s: given up"}


GIVING = """
import datetime
import numpy as np
import pyarrow as pa
from lake.analysis.base import Analysis

FIELDS = pa.schema([("value", pa.int64())])

def giving(name, value):
    return Analysis(name, "1", ("audio",), (), FIELDS, lambda media, params: [{"value": value}])

def failing(media, params):
    raise ValueError("no file \\udcff")

PLAIN = giving("plain", 1)
NUMBERS = giving("numbers", [np.float32(0.5), np.int64(7), np.bool_(True)])
DAY = giving("day", datetime.datetime(2026, 1, 1))
ARRAY = giving("array", np.zeros(2))
LARGE = giving("large", 2**70)
BROKEN = giving("broken", "\\udcff")
FAILS = Analysis("fails", "1", ("audio",), (), FIELDS, failing)
"""


def test_of_several_analyses_of_a_recording_those_alone_fail_whose_rows_cannot_be_sent() -> None:
    names = ("plain", "numbers", "day", "array", "large", "broken", "fails")
    with Sandbox(LIMITS) as sandbox:
        (outcome,) = sandbox.map([analyze(GIVING, 1, *names)])
        alone = list(sandbox.map(analyze(GIVING, number, name) for number, name in enumerate(names)))
        assert sandbox.children_started == 1
    value = outcome.value
    assert [one.value for one in alone] == [{name: value[name]} for name in names]
    assert value.pop("plain") == {"rows": [{"value": 1}]}
    assert value.pop("numbers") == {"rows": [{"value": [0.5, 7, True]}]}
    no_plain = "is no plain value (number, text, bytes, list)"
    assert {name: found["message"] for name, found in value.items()} == {
        "day": f"TypeError: its result cannot be sent: a datetime.datetime {no_plain}",
        "array": f"TypeError: its result cannot be sent: a numpy.ndarray {no_plain}",
        "large": "OverflowError: its result cannot be sent: an int of more than 64 bits",
        "broken": "UnicodeEncodeError: its result cannot be sent: 'utf-8' codec can't encode character '\\udcff' in"
        " position 0: surrogates not allowed",
        "fails": "ValueError: no file \\udcff",
    }
