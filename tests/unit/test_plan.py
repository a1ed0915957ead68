"""What ``lake store plan`` predicts: shapes follow the code that cuts, bounds and sums hold for any size."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.cli import Invocation, cli
from lake.ingest.discover import waves
from lake.ingest.plan import cut
from lake.model import Arrival
from lake.settings import IngestSettings
from lake.store.pack_use import PackUse, groups_of
from lake.store.plan import PART_BYTES, Prediction, Shape, predict

FIELDS = [
    "objects",
    "mean_bytes",
    "payload_bytes",
    "waves",
    "packs_landed",
    "packs",
    "pack_bytes",
    "large_blobs",
    "write_requests",
    "index_bytes",
    "log_bytes",
    "hours",
]


def arrivals(count: int, size_bytes: int) -> list[Arrival]:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return [Arrival("file:///in", f"{number:06}", "1", size_bytes + number % 7, at) for number in range(count)]


@pytest.mark.parametrize(
    ("count", "size_bytes"), [(1, 10), (31, 10), (100, 50_000), (2048, 50_000), (5000, 2000), (700, 3_000_000)]
)
def test_waves_and_packs_are_those_that_ingest_makes(count: int, size_bytes: int) -> None:
    shape = Shape()
    made = list(waves(arrivals(count, size_bytes), shape.wave_max_arrivals, shape.wave_max_bytes))
    packs = sum(len(cut(wave, shape.slots, shape.pack_target_bytes)) for wave in made)
    said = predict(count, size_bytes)
    assert (said.waves, said.packs_landed) == (len(made), packs)


@pytest.mark.parametrize("size_bytes", [100, 50_000, 3_000_000])
def test_packs_are_those_that_compaction_leaves(size_bytes: int) -> None:
    said = predict(20_000, size_bytes)
    each = said.pack_bytes // said.packs_landed
    uses = [
        PackUse(f"packs/d/{number:05}", each, 20_000 // said.packs_landed, each - 1000, ("d", ""))
        for number in range(said.packs_landed)
    ]
    groups = groups_of(uses, Shape().pack_target_bytes)
    left = said.packs_landed - sum(map(len, groups)) + len(groups)
    assert abs(said.packs - left) <= max(1, left // 20)


def test_shape_is_that_of_the_settings() -> None:
    settings = IngestSettings()
    assert Shape(slots=2) == Shape(
        settings.wave_max_arrivals, settings.wave_max_bytes, settings.pack_target_bytes, settings.max_blob_bytes, 2
    )


def test_large_recordings_are_objects_of_their_own() -> None:
    said = predict(1000, 100 * 1024**2)
    assert (said.packs, said.packs_landed, said.pack_bytes, said.large_blobs) == (0, 0, 0, 1000)
    assert said.write_requests > 1000 * (100 * 1024**2 // PART_BYTES)
    small = predict(1000, 9 * 1024**2)
    assert 5000 < small.write_requests < 6000


def test_more_recordings_or_larger_ones_never_take_less() -> None:
    draw = random.Random(3)
    for _ in range(300):
        objects, mean_bytes = draw.randrange(1, 10**8), draw.randrange(0, 7 * 1024**2)
        said, more = predict(objects, mean_bytes), predict(objects * 2, mean_bytes)
        for name in ("payload_bytes", "waves", "packs_landed", "packs", "write_requests", "index_bytes", "hours"):
            assert getattr(more, name) >= getattr(said, name), (name, objects, mean_bytes)
        assert said.packs <= said.packs_landed
        assert said.pack_bytes >= said.payload_bytes


def test_ten_times_as_many_take_ten_times_the_index_and_the_hours() -> None:
    few, many = predict(1_000_000, 50_000), predict(10_000_000, 50_000)
    assert many.index_bytes == 10 * few.index_bytes
    assert many.hours / few.hours == pytest.approx(10, rel=0.01)


def test_the_verb_needs_no_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["store", "plan", "--objects", "10000000", "--mean-bytes", "50000"]
    done = CliRunner().invoke(cli, [*asked, "--json"], obj=Invocation(json=True))
    document = json.loads(done.stdout)
    assert list(document) == FIELDS
    assert document == vars(predict(10_000_000, 50_000))
    assert list(Prediction.__dataclass_fields__) == FIELDS
    said = CliRunner().invoke(cli, asked, obj=Invocation())
    assert f"packs\t{document['packs']}" in said.stdout
    assert list(tmp_path.iterdir()) == []
