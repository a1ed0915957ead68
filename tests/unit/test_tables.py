"""Tables that are appended to often stay few files, whoever else writes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from lake.delta_errors import delta_errors
from lake.errors import CommitConflict, NotFound, StoreError, StoreUnavailable
from lake.tables import MERGE_EVERY_COMMITS, Tables

SCHEMA = pa.schema([("id", pa.string())])


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    tables = Tables(str(tmp_path))
    tables.create("t", SCHEMA)
    return tables


def append(tables: Tables, number: int) -> None:
    tables.append("t", pa.table({"id": [f"{number:04}"]}, schema=SCHEMA))


def ids(tables: Tables) -> list[str]:
    found: list[str] = tables.dataset("t").to_table().column("id").to_pylist()
    return sorted(found)


def test_many_small_commits_leave_few_files(tables: Tables) -> None:
    for number in range(3 * MERGE_EVERY_COMMITS):
        append(tables, number)
        assert len(tables.files("t")) <= MERGE_EVERY_COMMITS + 1
    assert ids(tables) == [f"{number:04}" for number in range(3 * MERGE_EVERY_COMMITS)]


def test_writers_at_once_lose_nothing_to_a_merge(tables: Tables) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: append(tables, number), range(3 * MERGE_EVERY_COMMITS)))
    assert ids(tables) == [f"{number:04}" for number in range(3 * MERGE_EVERY_COMMITS)]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("error sending request for url", StoreUnavailable),
        ("Server returned non-2xx status code 503 Service Unavailable: SlowDown", StoreUnavailable),
        ("\x1b[31m\u21b3\x1b[0m Error performing list request", StoreError),
    ],
)
def test_what_delta_rs_says_is_one_plain_line(said: str, error: type[StoreError]) -> None:
    with pytest.raises(error) as caught, delta_errors("s3://city/tables/t"):
        raise OSError(f"Generic S3 error\n  {said}\n")
    assert "s3://city/tables/t" in str(caught.value)
    assert not set("\x1b\n\u21b3") & set(str(caught.value))


def test_kinds_of_errors_are_told_apart(tables: Tables) -> None:
    with pytest.raises(NotFound, match="lake init"):
        tables.open("nothing")
    from deltalake.exceptions import CommitFailedError

    with pytest.raises(CommitConflict, match="again"), delta_errors("t"):
        raise CommitFailedError("another was first")


@pytest.mark.parametrize("first", ["merge", "take away", "append"])
def test_files_that_another_commit_took_away_cannot_be_taken_away_again(tables: Tables, first: str) -> None:
    from deltalake.transaction import RemoveAction

    for number in range(3):
        append(tables, number)
    read = tables.open("t")
    away = [RemoveAction(path, True, 0) for path in read.get_add_actions(flatten=True)["path"].to_pylist()]
    if first == "merge":
        tables.merge_files("t")
    elif first == "take away":
        tables.commit("t", tables.open("t"), away[:1], {})
    else:
        append(tables, 3)
        tables.commit("t", read, away, {})
        assert ids(tables) == ["0003"]
        return
    before = ids(tables)
    with pytest.raises(CommitConflict):
        tables.commit("t", read, away, {})
    assert ids(tables) == before
