"""What ``store stat`` says without reading all rows is what reading them all says."""

from __future__ import annotations

import json
import random
import zlib
from pathlib import Path

import pyarrow as pa
import pytest

from lake.catalog.sort import sort_table
from lake.history import remove_old_files
from lake.schema import BLOBS
from lake.store.objects import FolderStore
from lake.store.usage import KEPT, Usage, current_usage, keep_usage, usage_of
from lake.tables import Tables


def rows(draw: random.Random, contents: range, count: int) -> pa.Table:
    """Rows of contents, some of them twins: in another pack, or a large blob at the very same place."""
    chosen = [draw.choice(contents) for _ in range(count)]
    large = [number % 5 == 0 for number in chosen]
    columns = {
        "sha256": [f"{number:064x}" for number in chosen],
        "size_bytes": [number * 7 for number in chosen],
        "pack_uri": [
            f"blobs/{number}" if alone else f"packs/{draw.randrange(3)}"
            for number, alone in zip(chosen, large, strict=True)
        ],
        "offset": [0 if alone else number * 1000 for number, alone in zip(chosen, large, strict=True)],
        "length": [number * 7 for number in chosen],
    }
    return pa.table({field.name: columns.get(field.name, pa.nulls(count, field.type)) for field in BLOBS}, schema=BLOBS)


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    tables = Tables(str(tmp_path))
    tables.create("blobs", BLOBS)
    return tables


def current(tables: Tables) -> Usage:
    return current_usage(FolderStore(tables.root), tables.dataset("blobs"), tables.folder("blobs"))


def kept(tables: Tables) -> Path:
    return Path(tables.uri("blobs"), KEPT)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_counting_from_what_was_kept_is_counting_all(tables: Tables, seed: int, ordered: bool) -> None:
    draw = random.Random(seed)
    assert current(tables) == usage_of(tables.dataset("blobs"))
    for _ in range(3):
        tables.append("blobs", rows(draw, range(1, 60), 40))
    if ordered:
        sort_table(tables, "blobs", ["sha256"])
    keep_usage(tables)
    assert current(tables) == usage_of(tables.dataset("blobs"))
    for _ in range(3):
        tables.append("blobs", rows(draw, range(30, 90), 20))
        assert current(tables) == usage_of(tables.dataset("blobs"))


def test_what_was_kept_is_used_as_long_as_its_files_are_there(tables: Tables) -> None:
    draw = random.Random(1)
    tables.append("blobs", rows(draw, range(1, 20), 40))
    keep_usage(tables)
    said = json.loads(zlib.decompress(kept(tables).read_bytes()))
    kept(tables).write_bytes(zlib.compress(json.dumps({**said, "blobs": 1000}).encode()))
    tables.append("blobs", rows(draw, range(20, 21), 1))
    assert current(tables).blobs == 1001
    sort_table(tables, "blobs", ["sha256"])
    assert current(tables) == usage_of(tables.dataset("blobs"))


@pytest.mark.parametrize("left", [b"", b"x\x9c", b"no zlib at all"])
def test_a_count_that_is_being_written_is_not_believed(tables: Tables, left: bytes) -> None:
    tables.append("blobs", rows(random.Random(1), range(1, 20), 40))
    kept(tables).write_bytes(left)
    assert current(tables) == usage_of(tables.dataset("blobs"))


def test_the_count_stays_when_old_files_go(tables: Tables) -> None:
    tables.append("blobs", rows(random.Random(1), range(1, 20), 40))
    sort_table(tables, "blobs", ["sha256"])
    keep_usage(tables)
    assert remove_old_files(tables, "blobs", 0) == 1
    assert kept(tables).exists()
