"""Looking values up in a table of millions of rows without reading it: statistics first, then Bloom filters.

``lake maintain`` sorts a table and gives each row group a filter (see ``lake.catalog.sort``). A batch of a thousand
checksums falls into every row group, so that statistics rule none out; the filters do, as long as the values are new.
Files without filters, which came since, are read as ever. Nothing here is a guess: what a filter cannot rule out is
read.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lake.store.blobs import StoredBlob, stored_blobs
from lake.store.bloom import hash_of
from lake.store.known import SPAN_BYTES, RowGroup, Span
from lake.tables import Tables

if TYPE_CHECKING:
    import pyarrow.dataset as ds

FILTERED: dict[str, str] = {"blobs": "sha256", "assets": "asset_id"}
"""The column of a table that its row groups have a filter of, once it was sorted."""
SORTED_PREFIX = "sorted-"
"""How the names of files begin that have filters: others are not opened to look."""
FALSE_SHARE = 1e-4
"""A filter lets pass at most this share of the values that are not there; it takes 4 bytes a row."""
SPANS_AT_ONCE = 16


Spans = Callable[[Span], bytes]
"""Reads the bytes of filters."""


@dataclass(frozen=True)
class Parted:
    """A table's files at one version: row groups that have filters, and the files that have none."""

    groups: tuple[RowGroup, ...]
    rest: ds.Dataset


def parted(dataset: ds.Dataset, column: str) -> Parted:
    """Part a table by its footers; of files without filters not even these are read. Runs on the driver."""
    groups: list[RowGroup] = []
    rest: list[ds.Fragment] = []
    for fragment in dataset.get_fragments():
        found = _groups(fragment, column) if fragment.path.startswith(SORTED_PREFIX) else None
        if found is None:
            rest.append(fragment)
        else:
            groups += found
    return Parted(tuple(groups), of_fragments(rest, dataset))


def _groups(fragment: ds.Fragment, column: str) -> list[RowGroup] | None:
    metadata = fragment.metadata
    at = metadata.schema.names.index(column)
    chunks = [metadata.row_group(number).column(at) for number in range(metadata.num_row_groups)]
    known = [chunk.statistics for chunk in chunks]
    if any(each is None or not each.has_min_max or each.null_count for each in known):
        return None
    if not all(chunk.bloom_filter_length for chunk in chunks):
        return None
    spans = spans_of(fragment.path, [(chunk.bloom_filter_offset, chunk.bloom_filter_length) for chunk in chunks])
    return [
        RowGroup(span, number, said.min, said.max, chunk.bloom_filter_offset, chunk.bloom_filter_length)
        for number, (span, said, chunk) in enumerate(zip(spans, known, chunks, strict=True))
    ]


def spans_of(path: str, ranges: Sequence[tuple[int, int]]) -> list[Span]:
    """The span of each (offset, length) of a file: neighbours together, up to ``SPAN_BYTES``. Pure."""
    cuts: list[list[tuple[int, int]]] = []
    for offset, length in ranges:
        if not cuts or cuts[-1][-1][0] + cuts[-1][-1][1] != offset or offset + length - cuts[-1][0][0] > SPAN_BYTES:
            cuts.append([])
        cuts[-1].append((offset, length))
    return [Span(path, cut[0][0], cut[-1][0] + cut[-1][1] - cut[0][0]) for cut in cuts for _ in cut]


def rows_with(tables: Tables, name: str, values: Sequence[str]) -> ds.Dataset:
    """The part of a table that may have rows with these values in its filtered column: to be filtered by them.

    Runs on the driver.
    """
    filesystem = tables.filesystem(name)

    def read(span: Span) -> bytes:
        with filesystem.open_input_file(span.path) as file:
            return bytes(file.read_at(span.length, span.offset))

    return part_with(tables.dataset(name), FILTERED[name], values, read)


def part_with(dataset: ds.Dataset, column: str, values: Sequence[str], spans: Spans) -> ds.Dataset:
    """The same of a dataset whose filters are read by ``spans``."""
    parts = parted(dataset, column)
    if not parts.groups:
        return dataset
    numbers: dict[str, list[int]] = {}
    for group in groups_with(parts.groups, values, spans):
        numbers.setdefault(group.span.path, []).append(group.number)
    some = [
        fragment.subset(row_group_ids=numbers[fragment.path])
        for fragment in dataset.get_fragments()
        if fragment.path in numbers
    ]
    return of_fragments([*some, *parts.rest.get_fragments()], dataset)


def groups_with(groups: Sequence[RowGroup], values: Iterable[str], spans: Spans) -> list[RowGroup]:
    """The row groups that may have one of these values; the others surely have none."""
    ordered = sorted(set(values))
    hashed = [hash_of(value) for value in ordered]
    near: dict[Span, list[tuple[RowGroup, list[int]]]] = {}
    for group in groups:
        within = hashed[bisect_left(ordered, group.least) : bisect_right(ordered, group.most)]
        if within:
            near.setdefault(group.span, []).append((group, within))

    def found(span: Span) -> list[RowGroup]:
        spanned = spans(span)
        return [group for group, within in near[span] if any(group.may_have(spanned, each) for each in within)]

    with ThreadPoolExecutor(SPANS_AT_ONCE) as pool:
        return [group for each in pool.map(found, near) for group in each]


def stored_contents(tables: Tables, contents: Iterable[str]) -> dict[str, StoredBlob]:
    """What ``blobs`` has of these contents, as ``stored_blobs`` says it of the whole table."""
    wanted = sorted(set(contents))
    return stored_blobs(rows_with(tables, "blobs", wanted), wanted) if wanted else {}


def of_fragments(fragments: Sequence[ds.Fragment], like: ds.Dataset) -> ds.Dataset:
    """The dataset of some fragments of another."""
    import pyarrow.dataset as ds

    if not fragments:
        return ds.dataset(like.schema.empty_table())
    return ds.FileSystemDataset(fragments, like.schema, like.format, like.filesystem)
