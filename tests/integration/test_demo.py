"""The guided tour as a new user takes it, and the README's commands on the lake that it leaves."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.notebooks import run_cells
from tests.support.recordings import recordings

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).resolve().parents[2]
LAKE = Path(sys.executable).with_name("lake")
READING = ("sql", "quarantine list", "export", "runs list", "doctor", "report", "store stat", "library show")


def lake(*words: str, root: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LAKE, *words],
        env={**os.environ, "LAKE_ROOT": str(root), "LAKE_CONF": str(ROOT / "conf")},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The root of a demo and what it said."""
    folder = tmp_path_factory.mktemp("demo")
    done = lake("demo", "--json", root=folder / "lake", cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == "", "with --json, not even Spark's start says anything"
    document: dict[str, Any] = json.loads(done.stdout)
    return folder / "lake", document


def test_the_lake_holds_exactly_what_the_devices_recorded(toured: tuple[Path, dict[str, Any]]) -> None:
    root, document = toured
    assert document["differences"] == []
    ingested = document["ingest"]
    assert ingested["arrivals"] == ingested["landed"] + ingested["duplicates"] + ingested["quarantined"] > 60
    assert ingested["duplicates"] == 1
    assert ingested["quarantined"] == 4
    assert len(document["quarantine"]) == 4
    assert all(counts["failed"] == 0 < counts["done"] for counts in document["analyze"]["analyses"].values())
    assert {name: library["version"] for name, library in document["libraries"].items()} == {
        "hotline_audio": 1,
        "site_watch": 1,
    }
    assert Path(document["path"]) == root / "report.html"
    assert (root / "report.html").stat().st_size > 50_000


def test_a_second_tour_finds_nothing_to_do(toured: tuple[Path, dict[str, Any]]) -> None:
    root, _ = toured
    again = json.loads(lake("demo", "--json", root=root, cwd=root).stdout)
    assert again["ingest"]["arrivals"] == 0
    assert all(counts["done"] == 0 for counts in again["analyze"]["analyses"].values())
    assert all(library["version"] == 1 and not library["published"] for library in again["libraries"].values())


def test_commands_of_the_readme_run(toured: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    root, _ = toured
    reading = "|".join(READING)
    commands = re.findall(rf"^    lake ((?:{reading})\b[^#\n]*)", (ROOT / "README.md").read_text(), re.M)
    here = [command for command in commands if "--profile cluster" not in command]  # tests/cluster has those
    assert len(here) >= 5
    for command in here:
        done = lake(*shlex.split(command), root=root, cwd=tmp_path)
        assert done.returncode == 0, f"lake {command}: {done.stderr}"
        assert done.stdout


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_run(
    toured: tuple[Path, dict[str, Any]], notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKE_ROOT", str(toured[0]))
    monkeypatch.setenv("LAKE_CONF", str(ROOT / "conf"))
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    outputs = run_cells(["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"], tmp_path)
    assert outputs and all(outputs)


def test_the_tour_takes_a_folder_of_ones_own(tmp_path: Path) -> None:
    for recording in recordings():
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine" / recording.name).write_bytes(recording.data)
    done = lake("demo", "--json", "--data", str(tmp_path / "mine"), root=tmp_path / "lake", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    document = json.loads(done.stdout)
    assert document["ingest"]["landed"] == len(recordings())
    assert document["ingest"]["quarantined"] == 0
    assert not document["checked"]
