"""Buffers shrink while memory is short and grow again; what is short is read from the kernel's files."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from lake.pressure import LEAST_SHARE, LOOK_EVERY_S, Pressure, available_bytes, bounded
from lake.store.prefetch import ahead
from tests.unit.test_prefetch import CountingFetch, pieces

MIB = 1024**2
GIB = 1024 * MIB


@pytest.mark.parametrize(
    ("available", "tasks", "bound"),
    [
        (20 * GIB, 2, 64 * MIB),
        (512 * MIB, 2, 64 * MIB),  # two tasks take a quarter of it
        (256 * MIB, 2, 32 * MIB),
        (256 * MIB, 8, 8 * MIB),
        (100, 2, 64 * MIB // LEAST_SHARE),
        (0, 0, 64 * MIB // LEAST_SHARE),
    ],
)
def test_a_bound_is_a_fair_part_of_what_is_available(available: int, tasks: int, bound: int) -> None:
    assert bounded(64 * MIB, available, tasks) == bound


def test_more_memory_is_never_a_smaller_bound() -> None:
    bounds = [bounded(64 * MIB, available, 3) for available in range(0, 2 * GIB, 10 * MIB)]
    assert bounds == sorted(bounds)


def test_it_looks_now_and_then_and_says_once_that_memory_is_short(caplog: pytest.LogCaptureFixture) -> None:
    looks = [20 * GIB, 128 * MIB, 20 * GIB, 64 * MIB]
    at_s = 0.0
    pressure = Pressure(lambda: looks.pop(0), tasks=2, clock=lambda: at_s)
    found = []
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            found += [pressure.bound(64 * MIB), pressure.bound(64 * MIB)]
            at_s += LOOK_EVERY_S
    assert found == [size * MIB for size in (64, 64, 16, 16, 64, 64, 8, 8)]
    assert [record.getMessage() for record in caplog.records] == [
        "memory is short here (128 MiB available): buffers are smaller meanwhile"
    ]


def test_where_nobody_knows_the_bound_is_whole() -> None:
    assert Pressure(lambda: None).bound(64 * MIB) == 64 * MIB


def test_fewer_bytes_are_fetched_ahead_while_memory_is_short() -> None:
    """After ten pieces memory is short: what is held falls to the smaller bound, until it is free again."""
    fetch, read, most_held = CountingFetch(), 0, []

    def bound(most_bytes: int) -> int:
        return most_bytes // 4 if 10 <= read < 60 else most_bytes

    for piece, _ in ahead(fetch, pieces([100] * 100), max_bytes=800, bound=bound):
        read += 1
        most_held.append(fetch.held_bytes)
        fetch.let_go(piece)
    assert max(most_held[20:59]) <= 200
    assert max(most_held[:20]) <= 800


def kernel(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": "MemTotal: 100 kB\nMemAvailable:   8388608 kB\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_machine_says_how_much_is_available(tmp_path: Path) -> None:
    assert available_bytes(kernel(tmp_path, {})) == 8 * GIB
    assert available_bytes(tmp_path / "elsewhere") is None


def test_a_container_has_less_than_its_machine(tmp_path: Path) -> None:
    """Version 2: the group itself has no limit, the one around it has; files that were read count as free."""
    group = "sys/fs/cgroup/pods/one"
    files = {
        "proc/self/cgroup": "0::/pods/one\n",
        f"{group}/memory.max": "max\n",
        f"{group}/memory.current": f"{MIB}\n",
        "sys/fs/cgroup/pods/memory.max": f"{GIB}\n",
        "sys/fs/cgroup/pods/memory.current": f"{GIB - 100 * MIB}\n",
        "sys/fs/cgroup/pods/memory.stat": f"anon 5\ninactive_file {28 * MIB}\n",
    }
    assert available_bytes(kernel(tmp_path, files)) == 128 * MIB


def test_a_container_of_version_1_whose_path_is_the_hosts(tmp_path: Path) -> None:
    mount = "sys/fs/cgroup/memory"
    files = {
        "proc/self/cgroup": "5:cpu:/docker/x\n4:memory:/docker/x\n0::/\n",
        f"{mount}/memory.limit_in_bytes": f"{GIB}\n",
        f"{mount}/memory.usage_in_bytes": f"{2 * GIB}\n",
        f"{mount}/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB + 64 * MIB}\n",
    }
    assert available_bytes(kernel(tmp_path, files)) == 64 * MIB
    unlimited = {**files, f"{mount}/memory.limit_in_bytes": "9223372036854771712\n"}
    assert available_bytes(kernel(tmp_path, unlimited)) == 8 * GIB
