"""Taking contents out of the store for good: their packs are written anew without them, and the old ones go at once.

Their rows in ``blobs`` are gone by then, and who does this is alone in the lake (``lake.store.alone``): no hold is
needed. Runs on the driver; executors move what stays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor

from lake.engine.base import Engine
from lake.errors import AccessDenied, StoreError
from lake.store.about import about_key
from lake.store.codec import CODECS, RAW
from lake.store.compact import CompactContext, CompactReport, move_packs, refresh_files
from lake.store.index import index_pack
from lake.store.objects import ObjectInfo, ObjectStore
from lake.store.pack_use import filled, pack_uses
from lake.store.writer import large_key
from lake.tables import Tables

FOOTERS_AT_ONCE = 16


def objects_with(
    store: ObjectStore, contents: Collection[str], progress: Callable[[int], None] = lambda packs: None
) -> list[ObjectInfo]:
    """Packs and large blobs that hold one of these contents, in order of key; ``progress`` is told of packs looked at.

    Every pack is asked by its footer, for the index does not know them all: a pack that a crash or a race left holds
    contents that ``blobs`` has elsewhere. A pack that cannot be read at all is taken for one that holds them.
    """
    wanted = set(contents)
    found: list[ObjectInfo] = []
    with ThreadPoolExecutor(FOOTERS_AT_ONCE, "lake-footers") as threads:
        looked = threads.map(lambda entry: (entry, _holds(store, entry, wanted)), store.list("packs"))
        for number, (entry, holds) in enumerate(looked, 1):
            if holds:
                found.append(entry)
            progress(number)
    blobs = {large_key(sha256, codec) for sha256 in wanted for codec in (RAW, *CODECS)}
    large = blobs | {about_key(key) for key in blobs}
    for folder in sorted({key.rsplit("/", 1)[0] for key in large}):
        found += [entry for entry in store.list(folder) if entry.key in large]
    return sorted(found, key=lambda entry: entry.key)


def _holds(store: ObjectStore, entry: ObjectInfo, contents: set[str]) -> bool:
    try:
        index = index_pack(store, entry)
    except StoreError as error:
        if error.retryable or isinstance(error, AccessDenied):
            raise
        return True
    named = any(ref.sha256 in contents for ref, _ in index.blobs)
    hurt = any(sha256 in finding for finding in index.findings for sha256 in contents)
    return named or hurt or index.way == "none"


def move_out(
    context: CompactContext,
    tables: Tables,
    engine: Callable[[], Engine],
    objects: Collection[ObjectInfo],
    progress: Callable[[CompactReport], None] = lambda report: None,
) -> tuple[list[ObjectInfo], list[str]]:
    """Move what is live out of these objects; return those that nothing leads to now, and a line for each other one.

    An object stays when a blob in it that others need is damaged: a scrub has to restore or to quarantine it first.
    """
    keys = {entry.key for entry in objects}
    report = CompactReport()
    uses = [use for use in pack_uses(context.store, tables) if use.key in keys]
    move_packs(context, tables, engine, filled(uses, context.target_bytes), report, progress)
    refresh_files(tables)
    needed = {use.key for use in pack_uses(context.store, tables)} & keys
    stay = [f"{key} stays: run `lake store scrub --repair`, then `lake store erase --finish`" for key in sorted(needed)]
    return [entry for entry in objects if entry.key not in needed], [*report.findings, *stay]
