"""Changing rows of a Delta table: in one commit, still filtered afterwards, and never over another writer's change."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest

from lake.file_statistics import statistics
from lake.rewrite import all_rewrites, delete_rows, rewrite, update_rows
from lake.tables import Tables

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("n", pa.int64()),
        ("place", pa.struct([("uri", pa.string()), ("at", pa.int64())])),
        ("seen", pa.timestamp("us", tz="UTC")),
    ]
)


def row(number: int) -> dict[str, Any]:
    place = None if number % 3 == 0 else {"uri": f"u{number}", "at": number}
    return {"id": f"{number:03}", "n": number, "place": place, "seen": datetime(2026, 1, 1, 0, 0, number % 60, 7, UTC)}


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    tables = Tables(str(tmp_path))
    tables.create("t", SCHEMA)
    for start in range(0, 90, 30):
        tables.append("t", pa.Table.from_pylist([row(n) for n in range(start, start + 30)], schema=SCHEMA))
    return tables


def rows(tables: Tables) -> dict[str, dict[str, Any]]:
    return {each["id"]: each for each in tables.dataset("t").to_table().to_pylist()}


def test_rows_are_set_and_the_others_stay(tables: Tables) -> None:
    new = pa.table(
        {"id": ["005", "066", "zzz"], "place": pa.array([{"uri": "x", "at": 1}, None, None], SCHEMA[2].type)}
    )
    before, version = rows(tables), tables.open("t").version()
    assert update_rows(tables, "t", new, on={"id": "id"}) == 2
    assert tables.open("t").version() == version + 1
    after = rows(tables)
    assert after["005"] == {**before["005"], "place": {"uri": "x", "at": 1}}
    assert after["066"] == {**before["066"], "place": None}
    assert {k: v for k, v in after.items() if k not in ("005", "066")} == {
        k: v for k, v in before.items() if k not in ("005", "066")
    }


def test_only_files_with_such_rows_are_written_anew(tables: Tables) -> None:
    before = set(tables.open("t").file_uris())
    assert delete_rows(tables, "t", "id", ["005", "006"]) == 2
    after = set(tables.open("t").file_uris())
    assert (len(before & after), len(after)) == (2, 3)
    assert len(rows(tables)) == 88


def test_a_file_of_which_nothing_is_left_is_not_written(tables: Tables) -> None:
    assert delete_rows(tables, "t", "id", [f"{n:03}" for n in range(30)]) == 30
    assert len(tables.open("t").file_uris()) == 2


def test_what_finds_nothing_commits_nothing(tables: Tables) -> None:
    version = tables.open("t").version()
    assert delete_rows(tables, "t", "id", ["nobody"]) == 0
    assert delete_rows(tables, "t", "id", []) == 0
    assert update_rows(tables, "t", pa.table({"id": ["nobody"], "n": [1]}), on={"id": "id"}) == 0
    assert tables.open("t").version() == version


def test_a_rewritten_table_is_filtered_as_before(tables: Tables) -> None:
    """What delta-rs's own merge breaks: pyarrow cannot filter the files that it writes."""
    update_rows(tables, "t", pa.table({"id": ["005"], "n": [500]}), on={"id": "id"})
    found = tables.dataset("t").to_table(filter=pc.field("id").isin(["005", "040"]))
    assert sorted(found.column("n").to_pylist()) == [40, 500]
    assert tables.dataset("t").count_rows(filter=pc.field("id") >= "080") == 10
    assert tables.dataset("t").count_rows(filter=pc.field("seen") >= datetime(2026, 1, 1, 0, 0, 59, 7, UTC)) == 1


def test_a_row_that_another_changed_meanwhile_is_not_changed_back(tables: Tables) -> None:
    """The key is the value that was read: a row that says something else by now is left alone."""
    new = pa.table({"id": ["005"], "was": [5], "n": [50]})
    assert update_rows(tables, "t", pa.table({"id": ["005"], "n": [6]}), on={"id": "id"}) == 1
    assert update_rows(tables, "t", new, on={"id": "id", "n": "was"}) == 0
    assert rows(tables)["005"]["n"] == 6


def test_two_writers_of_one_file_lose_nothing(tables: Tables) -> None:
    """The other commits between reading and committing: the first is refused, reads again, and keeps both changes."""
    tries = []

    def change(old: pa.Table) -> tuple[pa.Table, int]:
        tries.append(old.num_rows)
        if len(tries) == 1:
            update_rows(tables, "t", pa.table({"id": ["006"], "n": [600]}), on={"id": "id"})
        kept = old.filter(pc.not_equal(old.column("id"), "005"))
        return kept, old.num_rows - kept.num_rows

    assert rewrite(tables, "t", "id", ["005"], change) == 1
    assert len(tries) == 2
    after = rows(tables)
    assert ("005" in after, after["006"]["n"], len(after)) == (False, 600, 89)


def test_an_append_meanwhile_is_kept(tables: Tables) -> None:
    def change(old: pa.Table) -> tuple[pa.Table, int]:
        tables.append("t", pa.Table.from_pylist([row(200)], schema=SCHEMA))
        return old.slice(1), 1

    rewrite(tables, "t", "id", ["005"], change)
    assert {"200", "005"} <= rows(tables).keys()
    assert len(rows(tables)) == 90


def test_rewrites_are_told_from_appends(tables: Tables) -> None:
    delete_rows(tables, "t", "id", ["005"])
    tables.append("t", pa.Table.from_pylist([row(200)], schema=SCHEMA))
    assert list(all_rewrites(tables.open("t").history())) == [4]


def test_statistics_hold_all_values() -> None:
    table = pa.Table.from_pylist([row(n) for n in range(10)], schema=SCHEMA)
    found = statistics(table)
    assert found["numRecords"] == 10
    assert (found["minValues"]["id"], found["maxValues"]["id"], found["nullCount"]["n"]) == ("000", "009", 0)
    assert found["minValues"]["seen"] == "2026-01-01T00:00:00.000Z"
    assert found["maxValues"]["seen"] == "2026-01-01T00:00:09.001Z", "rounded up: no value may lie beyond it"


KINDS = pa.table(
    {
        "id": ["a", "b", "c", "gone"],
        "flag": pa.array([True, False, None, True]),
        "raw": pa.array([b"1", None, b"3", b"4"]),
        "words": pa.array([["q"], None, [], ["r"]], pa.list_(pa.string())),
        "level": pa.array([1.0, float("nan"), None, 2.0]),
        "day": pa.array([date(2026, 1, 1), None, date(2026, 1, 2), None]),
        "price": pa.array([Decimal("1.50"), None, Decimal("-3.25"), None], pa.decimal128(10, 2)),
        "at": pa.array([datetime(2026, 1, 1, 0, 0, 0, 1, UTC), None, None, None], pa.timestamp("us", "UTC")),
        "place": pa.array([{"x": "1", "raw": b"2"}, None, {"x": None, "raw": None}, None]),
    }
)
ASKED = [
    *(getattr(pc.field(name), what)() for name in KINDS.schema.names for what in ("is_null", "is_valid")),
    pc.field("flag") == pc.scalar(True),
    pc.field("flag") == pc.scalar(False),
    pc.field("raw") == b"3",
    pc.field("level") <= 1.0,
    pc.field("day") >= date(2026, 1, 2),
    pc.field("price") < pa.scalar(Decimal("0.00"), pa.decimal128(10, 2)),
    pc.field("at") > datetime(2026, 1, 1, tzinfo=UTC),
]


@pytest.mark.parametrize("kept", [["a"], ["b"], ["c"], ["a", "b"], ["b", "c"], ["a", "b", "c"]], ids="".join)
def test_a_file_written_anew_answers_every_question(tmp_path: Path, kept: list[str]) -> None:
    """Where the log says something of some columns alone, the readers take the others for null."""
    tables = Tables(str(tmp_path))
    tables.create("t", KINDS.schema)
    tables.append("t", KINDS)
    delete_rows(tables, "t", "id", {"a", "b", "c", "gone"} - set(kept))
    dataset, whole = tables.dataset("t"), ds.dataset(KINDS.filter(pc.is_in(KINDS["id"], pa.array(kept))))
    for asked in ASKED:
        found, wanted = (each.to_table(filter=asked).column("id").to_pylist() for each in (dataset, whole))
        assert found == wanted, str(asked)
