"""What is new in a source: the listing less what ``arrivals`` knows, in bounded waves. Runs on the driver."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow.compute as pc

from connectors.base import Connector
from lake.model import Arrival, Skipped
from lake.tables import Tables

LISTING_CHUNK = 2048
"""Entries of a listing compared with ``arrivals`` at once: what bounds the driver's memory."""


def new_arrivals(
    connector: Connector, tables: Tables, on_skipped: Callable[[Skipped], None], on_seen: Callable[[int], None]
) -> Iterator[Arrival]:
    """Arrivals of the source whose (key, version) has no ended row yet, in order of key.

    The listing ascends in key, and so do the files of ``arrivals``: each chunk reads only the files whose key range
    meets its own.
    """
    for chunk in _chunks(connector.discover(), LISTING_CHUNK):
        arrivals = []
        for entry in chunk:
            if isinstance(entry, Skipped):
                on_skipped(entry)
            else:
                arrivals.append(entry)
        if not arrivals:
            continue
        on_seen(len(arrivals))
        known = known_versions(tables, connector.source, arrivals[0].key, arrivals[-1].key)
        yield from (a for a in arrivals if (a.key, a.version) not in known)


def known_versions(tables: Tables, source: str, first_key: str, last_key: str) -> set[tuple[str, str]]:
    """(key, version) of every ended arrival of a source in a range of keys."""
    wanted = (
        (pc.field("source") == source)
        & (pc.field("key") >= first_key)
        & (pc.field("key") <= last_key)
        & (pc.field("state") != "pending")
    )
    rows = tables.dataset("arrivals").to_table(columns=["key", "version"], filter=wanted)
    return set(zip(rows.column("key").to_pylist(), rows.column("version").to_pylist(), strict=True))


def waves(arrivals: Iterable[Arrival], max_arrivals: int, max_bytes: int) -> Iterator[list[Arrival]]:
    """Cut a stream of arrivals into waves that are committed one by one; a killed run loses at most one."""
    wave: list[Arrival] = []
    size_bytes = 0
    for arrival in arrivals:
        if wave and (len(wave) >= max_arrivals or size_bytes + arrival.size_bytes > max_bytes):
            yield wave
            wave, size_bytes = [], 0
        wave.append(arrival)
        size_bytes += arrival.size_bytes
    if wave:
        yield wave


def one_ahead(waves: Iterator[list[Arrival]]) -> Iterator[list[Arrival]]:
    """The same waves; the next is listed on a thread of its own while executors work on this one."""
    with ThreadPoolExecutor(1, "lake-list") as thread:
        following = thread.submit(next, waves, None)
        while (wave := following.result()) is not None:
            following = thread.submit(next, waves, None)
            yield wave


def _chunks(entries: Iterable[Arrival | Skipped], size: int) -> Iterator[list[Arrival | Skipped]]:
    iterator = iter(entries)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
