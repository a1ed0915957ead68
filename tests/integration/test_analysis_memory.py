"""Analyses keep memory flat too: with the size of a recording and with the number of recordings (invariant 8)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import process
from tests.bench.place import ingest, new_job
from tests.integration.test_memory import HUGE_MIB, LARGE_MIB, MIB, sparse_wav
from tests.support.analysis_media import tone, wav

pytestmark = pytest.mark.timeout(1800)

GROWTH_BYTES = 150 * MIB
"""What a recording of any size may add: blocks on their way from the decode to the readers, and what these keep."""
SHARE, SLACK_BYTES = 1.20, 12 * MIB
"""What ten times as many recordings may add; the slack is the noise of sampling a small total."""


def analysed(root: str, analysis: str, count: int) -> int:
    """Analyse what was landed in a process of its own and return the peak of all its processes together."""
    done = process.run("jobs.cli", "--root", root, "analyze", analysis, "--json", sampled=True)
    assert done.document["analyses"][analysis] == {"done": count, "skipped": 0, "failed": 0}
    assert done.peak_bytes > 50 * MIB, "the sampler saw no process"
    return done.peak_bytes


@pytest.mark.parametrize("size_mib", [LARGE_MIB, pytest.param(HUGE_MIB, marks=pytest.mark.full)])
def test_a_large_recording(tmp_path: Path, size_mib: int) -> None:
    peaks = []
    for name, size in (("small", 1), ("large", size_mib)):
        root = new_job(str(tmp_path / f"lake-{name}")).settings.root
        ingest(root, sparse_wav(tmp_path / name, size))
        peaks.append(analysed(root, "loudness", 1))
    assert peaks[1] - peaks[0] < GROWTH_BYTES


def test_ten_times_as_many_recordings(tmp_path: Path) -> None:
    peaks = []
    for count in (200, 2000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            (folder / f"{number:04}.wav").write_bytes(wav(tone(1.0, 200 + number, 0.3, 48_000), 48_000))
        root = new_job(str(tmp_path / f"lake-{count}")).settings.root
        ingest(root, folder)
        peaks.append(analysed(root, "loudness", count))
    assert peaks[1] < peaks[0] * SHARE + SLACK_BYTES
