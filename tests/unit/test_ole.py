"""The root of OLE compound files: what olefile sees, in bounded reads."""

from __future__ import annotations

import io
from typing import Any

import olefile
import pytest

from lake.media.containers import inside_ole
from lake.media.ole import MAX_DIRECTORY_SECTORS, root_names
from tests.support.compound import FREE, compound, entry

ROOT = entry("Root Entry", kind=5, child=2)
SOUND = (
    ROOT,
    entry("Table", left=FREE),
    entry("WordDocument", left=1, right=3),
    entry("ObjectPool", kind=1, child=4),
    entry("Workbook"),
)
"""A Word file with a workbook inside a storage."""


@pytest.mark.parametrize("padding_sectors", [0, 5, 14_100, 31_000])
def test_the_root_is_what_olefile_says(padding_sectors: int) -> None:
    data = compound(SOUND, padding_sectors=padding_sectors)
    with olefile.OleFileIO(io.BytesIO(data)) as theirs:
        names = {path[0].lower() for path in theirs.listdir(streams=True, storages=True)}
    assert root_names(io.BytesIO(data)) == names == {"table", "worddocument", "objectpool"}
    assert inside_ole(io.BytesIO(data)).content_type == "application/msword"


class Counted(io.BytesIO):
    """Counts its reads and what they bring."""

    reads = 0
    bytes = 0

    def read(self, *args: Any) -> bytes:
        data = super().read(*args)
        self.reads += 1
        self.bytes += len(data)
        return data


@pytest.mark.parametrize("loop", [True, False])
def test_a_hostile_directory_is_read_to_a_limit(loop: bool) -> None:
    """Entries that name each other in a circle, in a directory that never ends or is very long."""
    circle = [entry(f"s{n}", left=(n + 1) % 40_000, right=(n + 2) % 40_000) for n in range(40_000)]
    stream = Counted(compound([ROOT, *circle], loop=loop))
    names = root_names(stream)
    assert 8000 <= len(names) <= 4 * MAX_DIRECTORY_SECTORS
    assert stream.reads <= 3 * MAX_DIRECTORY_SECTORS
    assert stream.bytes <= 520 * MAX_DIRECTORY_SECTORS


def test_what_is_cut_off_or_damaged_never_raises_more_than_that() -> None:
    data = compound(SOUND)
    for cut in range(8, len(data), 7):
        assert inside_ole(io.BytesIO(data[:cut])).media_kind == "document"
    for at in range(8, len(data), 5):
        assert inside_ole(io.BytesIO(data[:at] + b"\xff\xff\xff\x7f" + data[at + 4 :])).media_kind == "document"
