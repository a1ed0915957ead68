"""Cutting waves into tasks, and the rows a wave adds: pure functions, no store and no JVM."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from lake.ingest.commit import LANDINGS, RunFacts, WaveRows, wave_rows
from lake.ingest.discover import waves
from lake.ingest.landing import Landing, columns
from lake.ingest.plan import cost_bytes, cut
from lake.model import Arrival, BlobRef, Device, Failure, Sniffed, Technical
from lake.store.blobs import StoredBlob

FACTS = RunFacts("run", datetime(2026, 1, 1, tzinfo=UTC))


def arrival(key: str, size_bytes: int = 10) -> Arrival:
    return Arrival("file:///in", key, "v1", size_bytes)


def ref(sha256: str) -> BlobRef:
    return BlobRef(sha256, 10, "packs/p", 0, 10, "raw", 1, "text/plain")


def landing(key: str, sha256: str | None, stored: bool, failure: Failure | None = None) -> Landing:
    return Landing(
        arrival(key),
        sha256,
        10 if sha256 else None,
        ref(sha256) if sha256 and stored else None,
        Sniffed("text/plain", "document"),
        None,
        failure,
    )


def test_cut_keeps_every_arrival_once_and_balances() -> None:
    draw = random.Random(3)
    arrivals = [arrival(f"{n:05}", int(draw.lognormvariate(9, 2))) for n in range(3000)]
    tasks = cut(arrivals, slots=4, task_bytes=10**12)
    assert sorted(a.key for task in tasks for a in task) == [a.key for a in arrivals]
    costs = [sum(map(cost_bytes, task)) for task in tasks]
    assert len(tasks) == 8
    assert costs == sorted(costs, reverse=True)
    assert max(costs) < 2 * sum(costs) / len(costs) + max(map(cost_bytes, arrivals))


def test_cut_sends_recordings_of_equal_size_to_one_task() -> None:
    arrivals = [arrival(f"{n:05}", 1000 + n) for n in range(1000)]
    arrivals += [arrival("00000-twin", 1500), arrival("zzz-twin", 1500)]
    (home,) = {number for number, t in enumerate(cut(arrivals, 2, 10**12)) if any(a.size_bytes == 1500 for a in t)}
    assert home >= 0


def test_cut_spreads_a_device_whose_segments_are_all_of_one_size() -> None:
    tasks = cut([arrival(f"{n:05}", 320_044) for n in range(1000)], 2, 10**12)
    assert len(tasks) == 4


def test_cut_makes_tasks_no_larger_than_a_pack() -> None:
    tasks = cut([arrival(f"{n:05}", 1_000_000) for n in range(100)], slots=1, task_bytes=10_000_000)
    assert all(sum(a.size_bytes for a in task) <= 12_000_000 for task in tasks)


def test_waves_are_bounded_in_count_and_in_bytes() -> None:
    arrivals = [arrival(f"{n:05}", 10) for n in range(25)]
    assert [len(w) for w in waves(iter(arrivals), 10, 10**9)] == [10, 10, 5]
    assert [len(w) for w in waves(iter(arrivals), 1000, 100)] == [10, 10, 5]
    assert [len(w) for w in waves(iter([arrival("a", 500)]), 10, 100)] == [1]


def rows_of(
    *landings: Landing,
    stored: dict[str, StoredBlob] | None = None,
    assets: set[str] | None = None,
    failures: set[str] | None = None,
) -> WaveRows:
    table = pa.table(columns(landings, {}), schema=LANDINGS)
    return wave_rows(table, stored or {}, assets or set(), failures or set(), FACTS)


def states(rows: WaveRows) -> list[str]:
    return list(rows.arrivals.column("state").to_pylist())


def test_the_first_of_two_twins_lands_and_the_second_is_a_duplicate() -> None:
    rows = rows_of(landing("a", "s1", True), landing("b", "s1", True))
    assert states(rows) == ["landed", "duplicate"]
    assert rows.blobs.num_rows == 1
    assert rows.assets.num_rows == 2


def test_an_asset_points_to_where_its_content_lies() -> None:
    """To its own task's pack, to that of the twin which came first, or to what was stored in an earlier run."""
    ours = landing("a", "s1", True)
    theirs = landing("b", "s1", True)
    theirs.blob = BlobRef("s1", 10, "packs/other", 99, 10, "raw", 1, "text/plain")
    known = landing("c", "s2", False)
    rows = rows_of(ours, theirs, known, stored={"s2": StoredBlob(BlobRef(*OLD), "earlier")})
    files = rows.assets.column("file").to_pylist()
    assert [(f["uri"], f["offset"]) for f in files] == [("packs/p", 0), ("packs/p", 0), ("packs/old", 7)]
    assert [f["checksum"] for f in files] == ["sha256:s1", "sha256:s1", "sha256:s2"]
    assert states(rows) == ["landed", "duplicate", "duplicate"]
    assert rows.blobs.column("pack_uri").to_pylist() == ["packs/p"]


OLD = ("s2", 10, "packs/old", 7, 10, "raw", 1, "text/plain")


def test_a_killed_run_takes_up_what_it_had_committed() -> None:
    """The blob and the asset were committed, the arrival was not: it lands, and nothing is written twice."""
    mine = landing("a", "s1", False)
    stored = {"s1": StoredBlob(ref("s1"), mine.arrival.arrival_id)}
    first = rows_of(landing("a", "s1", True))
    rows = rows_of(mine, stored=stored, assets=set(first.assets.column("asset_id").to_pylist()))
    assert states(rows) == ["landed"]
    assert rows.blobs.num_rows == 0
    assert rows.assets.num_rows == 0


def test_a_quarantined_arrival_keeps_its_bytes_and_has_one_reason() -> None:
    bad = landing("a", "s1", True, Failure("Damaged", "cut off"))
    rows = rows_of(bad)
    assert states(rows) == ["quarantined"]
    assert (rows.blobs.num_rows, rows.assets.num_rows, rows.quarantine.num_rows) == (1, 1, 1)
    again = rows_of(bad, failures={bad.arrival.arrival_id})
    assert again.quarantine.num_rows == 0


def test_what_could_not_be_read_has_a_reason_and_no_asset() -> None:
    rows = rows_of(landing("a", None, False, Failure("Unreadable", "gone")))
    assert (rows.assets.num_rows, rows.quarantine.num_rows) == (0, 1)
    assert rows.arrivals.column("sha256").to_pylist() == [None]
    assert rows.quarantine.column("message").to_pylist() == ["gone"]


def test_every_fact_of_a_landing_reaches_its_row() -> None:
    """What is listed, read, sniffed and probed, each in the column of that name; two sizes that differ stay apart."""
    moment = datetime(2026, 3, 1, 8, tzinfo=UTC)
    technical = Technical("mp4", "h264", 1.5, 640, 480, 25.0, 8000, 2, 3, moment, "a note")
    one = landing("a", "s1", True, Failure("Unreadable", "changed while being read"))
    one.arrival = Arrival("file:///in", "a", "v1", 12, moment, "cam")
    one.technical = technical
    rows = rows_of(one)
    (asset,), (arrived,) = rows.assets.to_pylist(), rows.arrivals.to_pylist()
    assert {name: asset[name] for name in technical.__dataclass_fields__} == {
        name: getattr(technical, name) for name in technical.__dataclass_fields__
    }
    assert (asset["size_bytes"], arrived["size_bytes"]) == (10, 12)
    assert (asset["path"], asset["device_id"], asset["content_type"]) == ("a", "cam", "text/plain")
    assert (arrived["modified_at_utc"], arrived["seen_at_utc"]) == (moment, FACTS.now)
    assert {rows.blobs.column("arrival_id")[0].as_py(), arrived["arrival_id"]} == {one.arrival.arrival_id}


def test_a_name_that_tells_the_time_is_believed_before_the_content() -> None:
    device = Device("cam", "camera", captured_at_pattern=r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)")
    named, plain = landing("20260301.mp4", "s1", True), landing("b.mp4", "s2", True)
    for each in (named, plain):
        each.arrival = replace(each.arrival, device_id="cam")
        each.technical = Technical(captured_at_utc=datetime(1999, 1, 1, tzinfo=UTC))
    told = columns([named, plain], {"cam": device})["captured_at_utc"]
    assert told == [datetime(2026, 3, 1, tzinfo=UTC), datetime(1999, 1, 1, tzinfo=UTC)]


@pytest.mark.parametrize(
    "said",
    [
        {"sample_rate_hz": 4_294_967_295},
        {"width_px": -1},
        {"pages": "many"},
        {"duration_s": float("inf")},
        {"duration_s": float("nan")},
        {"container": 7},
        {"captured_at_utc": "soon"},
        {"unheard": 1},
    ],
)
def test_what_no_table_holds_is_not_taken_from_the_child(said: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Technical.from_plain(said)


def test_what_the_child_says_comes_back_whole() -> None:
    technical = Technical("mp4", "h264", 1.5, 640, 480, 25, 8000, 2, 3, datetime(2026, 3, 1, tzinfo=UTC), "note")
    assert Technical.from_plain(technical.to_plain()) == technical
