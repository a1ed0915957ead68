"""Look-ups in sorted tables: nothing that is there is missed, and row groups that surely have nothing are not read."""

from __future__ import annotations

import hashlib
import itertools
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from lake.catalog.sort import SORTED_GROUP_ROWS, is_loose, sort_table
from lake.file_statistics import both_statistics, statistics
from lake.rewrite import delete_rows
from lake.schema import BLOBS
from lake.store.bloom import bits_of, hash_of, may_have
from lake.store.known import SPAN_BYTES, Known, RowGroup, Span
from lake.store.lookup import groups_with, parted, rows_with, spans_of, stored_contents
from lake.store.objects import FolderStore
from lake.tables import Tables

ROWS = 2 * SORTED_GROUP_ROWS + 1000


def sha256(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def blob_rows(numbers: range) -> pa.Table:
    count = len(numbers)
    columns = {
        "sha256": [sha256(number) for number in numbers],
        "size_bytes": list(numbers),
        "pack_uri": ["packs/x.pack"] * count,
        "offset": list(numbers),
        "length": list(numbers),
        "codec": ["raw"] * count,
        "crc32c": [0] * count,
        "content_type": ["text/plain"] * count,
        "arrival_id": [str(number) for number in numbers],
    }
    return pa.table({field.name: columns.get(field.name, pa.nulls(count, field.type)) for field in BLOBS}, schema=BLOBS)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Three row groups with filters, and a file that came after them."""
    tables = Tables(str(tmp_path_factory.mktemp("lake")))
    tables.create("blobs", BLOBS)
    tables.append("blobs", blob_rows(range(ROWS)))
    sort_table(tables, "blobs", ["sha256"])
    tables.append("blobs", blob_rows(range(ROWS, ROWS + 10)))
    return tables


@pytest.mark.parametrize("length", [*range(70), 255])
def test_filters_that_arrow_wrote_have_all_that_is_in_them(tmp_path: Path, length: int) -> None:
    values = [f"{number:08x}".rjust(length, "x")[:length] for number in random.Random(length).sample(range(2**31), 50)]
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"v": values}), path, bloom_filter_options={"v": {"ndv": 50, "fpp": 0.001}})
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(0)
    bits = bits_of(memoryview(path.read_bytes())[chunk.bloom_filter_offset :][: chunk.bloom_filter_length])
    assert all(may_have(bits, hash_of(value)) for value in values)
    assert sum(may_have(bits, hash_of(f"absent {number}")) for number in range(1000)) < 20


@pytest.mark.parametrize("stored", [b"", b"\x00" * 40, b"\x15\x80\x80", b"\x15\x40\x00"])
def test_what_is_no_filter_is_refused(stored: bytes) -> None:
    with pytest.raises(ValueError, match="no Bloom filter"):
        bits_of(memoryview(stored))


def test_a_sorted_table_has_the_same_rows_in_order(filled: Tables) -> None:
    parts = parted(filled.dataset("blobs"), "sha256")
    assert len(parts.groups) == 3
    assert parts.rest.count_rows() == 10
    in_order = filled.dataset("blobs").to_table(columns=["sha256"]).column(0).to_pylist()
    assert sorted(in_order) == sorted(map(sha256, range(ROWS + 10)))
    ends = sorted((group.least, group.most) for group in parts.groups)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ends))


def test_new_contents_read_no_row_group_and_known_ones_are_found(filled: Tables) -> None:
    new = [sha256(number) for number in range(ROWS + 10, ROWS + 1010)]
    known = [sha256(number) for number in (0, 5, ROWS - 1, ROWS, ROWS + 9)]
    assert rows_with(filled, "blobs", new).count_rows() == 10
    found = stored_contents(filled, [*new, *known])
    assert sorted(found) == sorted(known)
    assert {each.arrival_id for each in found.values()} == {"0", "5", str(ROWS - 1), str(ROWS), str(ROWS + 9)}
    assert stored_contents(filled, []) == {}


def test_an_executor_is_never_told_that_a_stored_content_is_new(filled: Tables) -> None:
    store = FolderStore(filled.root)
    known = Known(filled.folder("blobs"), parted(filled.dataset("blobs"), "sha256").groups)
    assert all(known.may_have(sha256(number), store) for number in range(0, ROWS, 997))
    assert sum(known.may_have(sha256(number), store) for number in range(ROWS, ROWS + 2000)) < 10


def test_a_filter_that_rules_nothing_out_is_read_through(filled: Tables) -> None:
    groups = parted(filled.dataset("blobs"), "sha256").groups
    stored = Path(filled.uri("blobs"), groups[0].span.path).read_bytes()
    bits_bytes = 2 ** (groups[0].filter_bytes.bit_length() - 1)
    header = stored[groups[0].filter_offset :][: groups[0].filter_bytes]
    full, none = (
        b"".join(header[: len(header) - bits_bytes] + bits * bits_bytes for _ in groups) for bits in (b"\xff", b"\x00")
    )
    assert groups_with(groups, [sha256(1)], lambda span: full) == [g for g in groups if g.least <= sha256(1) <= g.most]
    assert groups_with(groups, [sha256(1)], lambda span: none) == []


def test_ranges_that_overlap_are_all_looked_at() -> None:
    draw = random.Random(2)
    for _ in range(200):
        ends = [sorted(f"{draw.randrange(60):02}" for _ in range(2)) for _ in range(draw.randrange(8))]
        groups = tuple(
            RowGroup(Span("p", 0, 1), number, least, most, 0, 1) for number, (least, most) in enumerate(ends)
        )
        value = f"{draw.randrange(60):02}"
        inside = {group.number for group in groups if group.least <= value <= group.most}
        assert {group.number for group in Known("f", groups).near(value)} == inside


def test_filters_that_lie_side_by_side_are_read_together() -> None:
    third = SPAN_BYTES // 3
    ranges = [(100, third), (100 + third, third), (100 + 2 * third, 10), (100 + 2 * third + 10, third), (9**9, 5)]
    first, second, last = Span("p", 100, 2 * third + 10), Span("p", 110 + 2 * third, third), Span("p", 9**9, 5)
    assert spans_of("p", ranges) == [first, first, first, second, last]
    assert spans_of("p", []) == []


def test_sorting_again_and_with_other_writers_loses_nothing(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    tables.create("blobs", BLOBS)
    for start in range(0, 50, 10):
        tables.append("blobs", blob_rows(range(start, start + 10)))

    class Racing(Tables):
        """Another writer merges and appends between the first reading and its commit."""

        def commit(self, name: str, *arguments: object) -> None:  # type: ignore[override]
            if not raced:
                raced.append(name)
                tables.merge_files(name)
                tables.append(name, blob_rows(range(50, 60)))
            super().commit(name, *arguments)  # type: ignore[arg-type]

    raced: list[str] = []
    sort_table(Racing(tables.root), "blobs", ["size_bytes"])
    rows = tables.dataset("blobs").to_table().column("size_bytes").to_pylist()
    assert (raced, rows) == (["blobs"], list(range(60)))


def test_a_file_that_rows_were_changed_in_is_in_no_order(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    tables.create("blobs", BLOBS)
    tables.append("blobs", blob_rows(range(20)))
    sort_table(tables, "blobs", ["sha256"])
    assert not is_loose(tables, "blobs", 1)
    delete_rows(tables, "blobs", "sha256", [sha256(3)])
    assert is_loose(tables, "blobs", 1)
    assert not is_loose(tables, "blobs")
    assert stored_contents(tables, map(sha256, range(20))).keys() == set(map(sha256, range(20))) - {sha256(3)}


def test_statistics_of_two_parts_are_those_of_the_whole() -> None:
    schema = pa.schema([("n", pa.int64()), ("at", pa.timestamp("us", "UTC")), ("t", pa.string())])
    whole = pa.table(
        {"n": [3, None, 1, 2], "at": pa.array([5, 10**15, None, 7]).cast(pa.timestamp("us", "UTC")), "t": [None] * 4},
        schema=schema,
    )
    parts = [statistics(whole.slice(0, 2)), statistics(whole.slice(2))]
    assert both_statistics({}, parts[0]) == parts[0]
    assert both_statistics(parts[0], parts[1]) == statistics(whole)


def test_statistics_of_a_sorted_file_let_a_look_up_leave_it_out(filled: Tables) -> None:
    low = filled.dataset("blobs").get_fragments(filter=pc.field("size_bytes") > 10**9)
    assert list(low) == []


def test_a_sorted_table_is_filtered_by_any_column(filled: Tables) -> None:
    (row,) = filled.dataset("blobs").to_table(filter=pc.field("sha256") == sha256(5)).to_pylist()
    for column, value in row.items():
        if value is not None:
            assert filled.dataset("blobs").count_rows(filter=pc.field(column) == value) > 0, column


def test_what_is_null_is_so_after_a_sort(tmp_path: Path) -> None:
    place = pa.struct([("uri", pa.string()), ("at", pa.int64())])
    schema = pa.schema([("id", pa.string()), ("never", pa.int32()), ("some", pa.int32()), ("place", place)])
    tables = Tables(str(tmp_path))
    tables.create("t", schema)
    places = [{"uri": "u", "at": 1}, None, {"uri": None, "at": 2}]
    tables.append("t", pa.table({"id": ["c", "a", "b"], "never": [None] * 3, "some": [1, None, 2], "place": places}))
    asked = [pc.field(name).is_null() for name in ("id", "never", "some", "place")] + [pc.field("place", "uri") == "u"]
    before = [tables.dataset("t").count_rows(filter=wanted) for wanted in asked]
    sort_table(tables, "t", ["id"])
    assert [tables.dataset("t").count_rows(filter=wanted) for wanted in asked] == before == [0, 3, 1, 1, 1]
