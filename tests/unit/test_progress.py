"""What long work tells: recordings, bytes and the time left, on a terminal, in a notebook and in a log."""

from __future__ import annotations

import io
import sys
import types

import pytest

from jobs.progress import PLAIN_EVERY_S, Progress, human_seconds, left_s
from tests.support.notebooks import run_cells


class Clock:
    """A clock that a test moves."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (89, "89 s"), (95, "2 min"), (3600, "60 min"), (7500, "2 h 05 min")]
)
def test_times_as_people_read_them(seconds: float, said: str) -> None:
    assert human_seconds(seconds) == said


def test_the_time_left_is_that_of_the_rest_of_the_work() -> None:
    assert left_s(30, 0.25) == 90
    assert left_s(30, 1.0) == 0
    assert left_s(30, 0.0) is None


def test_a_log_gets_a_line_now_and_then_and_waiting_is_not_counted(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Progress("analyze", unit="recordings", clock=clock) as progress:
        clock.now_s += 500  # another run was waited for
        progress.update(0, 0, total=(1000, 2_000_000), share=0.0)
        clock.now_s += PLAIN_EVERY_S * 2
        progress.update(400, 500_000, total=(1000, 2_000_000), share=0.25)
        clock.now_s += PLAIN_EVERY_S / 2
        progress.update(500, 500_000, total=(1000, 2_000_000), share=0.3)
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        "analyze: 0 of 1,000 recordings, 0 B of 2.0 MB",
        "analyze: 400 of 1,000 recordings, 500.0 kB of 2.0 MB, 20 recordings/s, 60 s left",
    ]
    assert told.out == ""


def test_what_has_no_known_end_tells_no_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Progress("ingest", clock=clock) as progress:
        progress.update(0, 0)
        clock.now_s += 20
        progress.update(40, 1_000)
    assert capsys.readouterr().err == "ingest: 40 objects, 1.0 kB, 2 objects/s\n"


def test_json_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Progress("analyze", quiet=True, clock=clock) as progress:
        clock.now_s += 100
        progress.update(1, 1, total=(2, 2), share=0.5)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen, clock = Screen(), Clock()
    monkeypatch.setattr(sys, "stderr", screen)
    for name, value in {"TERM": "xterm", "COLUMNS": "160"}.items():
        monkeypatch.setenv(name, value)
    with Progress("analyze", unit="recordings", clock=clock) as progress:
        progress.update(0, 0, total=(4, 4000), share=0.0)
        clock.now_s += 8
        progress.update(3, 1000, total=(4, 4000), share=0.8)
        assert progress._shown is not None
        progress._shown._bar.refresh()  # type: ignore[attr-defined]
    drawn = screen.getvalue()
    assert "━" in drawn and "3 of 4 recordings, 1.0 kB of 4.0 kB, 0 recordings/s, 2 s left" in drawn


def test_a_notebook_gets_one_output_that_is_replaced() -> None:
    code = """
from jobs.progress import Progress
with Progress("<analyze>") as progress:
    progress.update(0, 0, total=(4, 4000), share=0.0)
    progress.update(3, 1000, total=(4, 4000), share=0.75)  # told at the end, for it comes at once after the first
"""
    (shown,) = run_cells([code])[0]
    assert shown["output_type"] == "display_data"
    assert shown["data"]["text/plain"].startswith("<analyze>: 3 of 4 objects, 1.0 kB of 4.0 kB")
    assert shown["data"]["text/html"].startswith('<progress value="0.7500"></progress> &lt;analyze&gt;: 3 of 4')


def test_ipython_without_a_kernel_is_no_notebook(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = types.ModuleType("IPython")
    made.get_ipython = lambda: types.SimpleNamespace()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", made)
    clock = Clock()
    with Progress("analyze", clock=clock) as progress:
        clock.now_s += 100
        progress.update(1, 1)
    assert "analyze: 1 objects" in capsys.readouterr().err
