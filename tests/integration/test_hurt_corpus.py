"""A corpus of which three in a hundred are hurt: the job ends, the good have results, each bad one has one row."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from jobs.analyze import analyze_all
from jobs.cli import Invocation
from tests.support.hurt_recordings import HURT, HURT_ANALYSIS, Hurt, good_picture
from tests.support.lakes import Lake, OneEngine

pytestmark = pytest.mark.timeout(300)

RECORDINGS = 200


@pytest.fixture
def hurt(lake: Lake, tmp_path: Path) -> dict[str, Hurt]:
    """Lands the corpus on each engine in turn; the bad recordings, by path."""
    folder = tmp_path / "in"
    folder.mkdir()
    chosen = random.Random(9).sample(range(RECORDINGS), len(HURT))
    bad = {f"{number:03}.png": made for number, made in zip(chosen, HURT, strict=True)}
    for number in range(RECORDINGS):
        name = f"{number:03}.png"
        (folder / name).write_bytes(bad[name].data() if name in bad else good_picture(number))
    report = lake.ingest(folder)
    assert (report["landed"], report["quarantined"]) == (RECORDINGS - 1, 1)
    return bad


def test_the_good_have_results_and_each_bad_one_has_a_row(lake: Lake, hurt: dict[str, Hurt], tmp_path: Path) -> None:
    assert len(hurt) == RECORDINGS * 3 // 100
    file = tmp_path / "mean_grey.py"
    file.write_text(HURT_ANALYSIS)
    engines = OneEngine(lake.job, lake.engine)
    document = analyze_all(lake.job, Invocation(json=True), (), engines, modules=[str(file)])
    good = RECORDINGS - len(hurt)
    assert document["analyses"] == {"mean_grey": {"done": good, "skipped": 0, "failed": len(hurt) - 1}}
    paths = {row["sha256"]: row["path"] for row in lake.rows("assets")}
    results = Counter(paths[row["sha256"]] for row in lake.rows("feature_mean_grey"))
    assert results == {path: 1 for path in paths.values() if path not in hurt}
    rows = [(paths[row["sha256"]], row["error_class"], row["message"]) for row in lake.rows("quarantine")]
    assert sorted(row[:2] for row in rows) == sorted((path, bad.error_class) for path, bad in hurt.items())
    assert not [(path, message) for path, _, message in rows if hurt[path].said not in message]
