"""An analysis of a user's own file, as docs/analyses.md shows it: run, retried, run anew; and an installed one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lake.analysis.user_module import UserModule, analyses_of, chosen, read_module
from lake.engine import Engine
from lake.errors import UsageError
from tests.support import documented
from tests.support.analysis_media import RATE_HZ, avi, tone, wav
from tests.support.lakes import ROOT, Lake, new_lake

pytestmark = pytest.mark.timeout(240)


def example() -> str:
    return documented.example("analyses.md", "brightness.py")


def lake_command(lake: Lake, *arguments: str, expect: int = 0, **environment: str) -> dict[str, Any]:
    """A verb in a process of its own; its document, or what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", "--root", lake.job.settings.root, "--json", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expect, done.stderr
    return json.loads(done.stdout) if expect == 0 else {"said": done.stderr}


@pytest.fixture
def lake(tmp_path: Path, local_engine: Engine) -> Lake:
    """Two films, the second brighter, and a sound."""
    made = new_lake(str(tmp_path / "lake"), local_engine)
    (tmp_path / "in").mkdir()
    for name, level in (("dark", 40), ("bright", 200)):
        film = avi([np.full((64, 64, 3), level, np.uint8) for _ in range(75)], 25, tone(3.0, 440.0, 0.3, RATE_HZ))
        (tmp_path / "in" / f"{name}.avi").write_bytes(film)
    (tmp_path / "in" / "sound.wav").write_bytes(wav(tone(1.0, 440.0, 0.3, RATE_HZ)))
    made.ingest(tmp_path / "in")
    return made


def file_of(tmp_path: Path, source: str) -> str:
    path = tmp_path / "brightness.py"
    path.write_text(source, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("engine", ["local", "spark"])
def test_the_example_of_the_guide_runs(lake: Lake, tmp_path: Path, engine: str) -> None:
    file = file_of(tmp_path, example())
    assert lake_command(lake, "analyze", "--module", file, "--dry-run")["analyses"]["brightness"]["pending"] == 2
    document = lake_command(lake, "analyze", "--module", file, "--engine", engine)
    assert document["analyses"] == {"brightness": {"done": 2, "skipped": 0, "failed": 0}}
    query = (
        "SELECT path, count(*) AS n, avg(brightness) AS level, max(movement) AS moved FROM feature_brightness"
        " JOIN assets USING (sha256) GROUP BY 1 ORDER BY 1"
    )
    rows = lake_command(lake, "sql", query)["rows"]
    assert [(row["path"], row["n"]) for row in rows] == [("bright.avi", 3), ("dark.avi", 3)]
    assert abs(rows[0]["level"] - 200) < 10 and abs(rows[1]["level"] - 40) < 10
    assert rows[0]["moved"] < 5
    again = lake_command(lake, "analyze", "--module", file, "--engine", engine)
    assert again["analyses"] == {"brightness": {"done": 0, "skipped": 2, "failed": 0}}
    newer = file_of(tmp_path, example().replace('version="1"', 'version="2"'))
    assert lake_command(lake, "analyze", "--module", newer)["analyses"]["brightness"]["done"] == 2


def test_with_names_the_shipped_ones_run_beside_it(lake: Lake, tmp_path: Path) -> None:
    file = file_of(tmp_path, example())
    document = lake_command(lake, "analyze", "brightness", "loudness", "--module", file)
    assert {name: counts["done"] for name, counts in document["analyses"].items()} == {"brightness": 2, "loudness": 3}


def test_what_goes_wrong_in_it_is_a_row_and_can_be_tried_again(lake: Lake, tmp_path: Path) -> None:
    hurt = example().replace("grey = picture", "assert picture.mean() < 100, 'too bright'; grey = picture")
    file = file_of(tmp_path, hurt)
    document = lake_command(lake, "analyze", "--module", file)
    assert document["analyses"]["brightness"] == {"done": 1, "skipped": 0, "failed": 1}
    [row] = [row for row in lake.rows("quarantine") if row["analysis"] == "brightness"]
    assert row["message"] == "AssertionError: too bright"
    mended = file_of(tmp_path, example())
    retried = lake_command(lake, "quarantine", "retry", "--module", mended)
    assert (retried["tried"], retried["mended"]) == (1, 1)
    assert len({row["sha256"] for row in lake.rows("feature_brightness")}) == 2


def test_a_child_that_ends_costs_one_result(lake: Lake, tmp_path: Path) -> None:
    ends = example().replace(
        "grey = picture", "__import__('os')._exit(3) if picture.mean() > 100 else 0; grey = picture"
    )
    document = lake_command(lake, "analyze", "brightness", "loudness", "--module", file_of(tmp_path, ends))
    assert document["analyses"]["brightness"] == {"done": 1, "skipped": 0, "failed": 1}
    assert document["analyses"]["loudness"] == {"done": 3, "skipped": 0, "failed": 0}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = (", "brightness.py, line 1: SyntaxError"),
        ("import nowhere_at_all", "brightness.py, line 1: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("\n\nvalue = 1 / 0", "brightness.py, line 3: ZeroDivisionError"),
        ("x = 1", "brightness.py defines no analysis"),
        (example().replace('name="brightness"', 'name="loudness"'), "there is an analysis 'loudness' already"),
        (example().replace('name="brightness"', 'name="../x"'), "is no name of an analysis"),
    ],
)
def test_a_file_that_is_none_is_told_in_a_line(lake: Lake, tmp_path: Path, source: str, said: str) -> None:
    told = lake_command(lake, "analyze", "--module", file_of(tmp_path, source), expect=2)["said"]
    assert said in told
    assert len(told.strip().splitlines()) == 1
    assert "feature_brightness" not in lake.job.tables.names()


def test_an_analysis_of_an_installed_package_is_one_of_all(lake: Lake, tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "bright-1.dist-info").mkdir(parents=True)
    (site / "bright.py").write_text(example(), encoding="utf-8")
    (site / "bright-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: bright\nVersion: 1\n")
    points = site / "bright-1.dist-info" / "entry_points.txt"
    points.write_text("[perception_lake.analyses]\nbrightness = bright:BRIGHTNESS\n")
    path = os.pathsep.join([str(ROOT), str(site)])
    assert lake_command(lake, "analyze", PYTHONPATH=path)["analyses"]["brightness"]["done"] == 2
    points.write_text("[perception_lake.analyses]\nbrightness = bright:DARKNESS\n")
    told = lake_command(lake, "analyze", expect=2, PYTHONPATH=path)["said"]
    assert "the analysis 'brightness' (bright:DARKNESS) cannot be loaded" in told


def test_two_texts_of_one_path_are_two_modules() -> None:
    first, second = (
        UserModule("mine.py", example().replace('every_s": 1.0', f'every_s": {s}')) for s in ("1.0", "2.0")
    )
    assert analyses_of(first)["brightness"].params == {"every_s": 1.0}
    assert analyses_of(second)["brightness"].params == {"every_s": 2.0}
    assert analyses_of(first) is not None
    with pytest.raises(UsageError, match="already"):
        chosen({}, [first, second], [])


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "latin.py").write_bytes(b"x = '\xe9'")
    for name in ("latin.py", "none.py"):
        with pytest.raises(UsageError, match="cannot be read as Python"):
            read_module(str(tmp_path / name))
