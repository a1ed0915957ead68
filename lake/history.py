"""The past of a Delta table: shortened by upkeep, or forgotten altogether. No JVM; runs on the driver.

``VACUUM`` and the log's own clean-up keep what their retention says, and the log keeps the least and greatest values of
columns of files that are long gone. An erasure wants nothing left but what the newest version says: it becomes a
checkpoint, and what is older goes at once. Only who is alone in the lake may do that (``lake.store.alone``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

from lake.delta_errors import delta_errors
from lake.tables import Tables

LOG = "_delta_log"
_OF_VERSION = re.compile(r"(\d{20})\.")


@dataclass(frozen=True)
class Forgotten:
    """Files of a table that were deleted."""

    files: int
    size_bytes: int


def forget_history(tables: Tables, name: str) -> Forgotten:
    """Delete every file that the newest version of a table does not need: data, change feed, log, leftovers of crashes.

    Readers of older versions fail from then on. A call that was killed is completed by the next.
    """
    from pyarrow import fs

    with delta_errors(tables.uri(name)):
        table = tables.open(name)
        table.create_checkpoint()
        live = {unquote(path) for path in table.get_add_actions(flatten=True)["path"].to_pylist()}
    filesystem = tables.filesystem(name)
    found = filesystem.get_file_info(fs.FileSelector("", recursive=True))
    gone = [info for info in found if info.is_file and _is_past(info.path, live, int(table.version()))]
    for info in gone:
        _delete(filesystem, info.path)
    return Forgotten(len(gone), sum(info.size for info in gone))


def remove_old_files(
    tables: Tables, name: str, hold_hours: int, keep_versions: Sequence[int] = (), *, dry_run: bool = False
) -> int:
    """Delete data files that no version within the hold has, and log older than its retention; returns how many.

    A hold shorter than the table's own is taken as asked: the caller knows that nobody reads older versions. What
    was current within the hold can be opened afterwards, and so can ``keep_versions``.
    """
    with delta_errors(tables.uri(name)):
        table = tables.open(name)
        removed = table.vacuum(
            hold_hours,
            dry_run=dry_run,
            enforce_retention_duration=False,
            keep_versions=list(keep_versions) or None,
            full=True,
        )
        if not dry_run:
            _shorten_log(tables, name, hold_hours, keep_versions)
            table.create_checkpoint()
    return len(removed)


def _shorten_log(tables: Tables, name: str, hold_hours: int, keep_versions: Sequence[int]) -> None:
    """Delete the log before the oldest version that is to stay readable; that one gets a checkpoint to begin with.

    Retention goes by when a version was written: of a table that stood still for longer, the version that was
    current a minute ago would go with the first new one.
    """
    oldest = tables.open(name)
    oldest.load_as_version(datetime.now(UTC) - timedelta(hours=hold_hours))
    if min(keep_versions, default=oldest.version()) < oldest.version():
        oldest.load_as_version(min(keep_versions))
    oldest.create_checkpoint()
    oldest.cleanup_metadata()


def _delete(filesystem: Any, path: str) -> None:
    filesystem.delete_file(path)


def _is_past(path: str, live: set[str], version: int) -> bool:
    """Whether a file of a table's folder says nothing of its version ``version``, the newest. Pure."""
    path = path.lstrip("/")
    if not path.startswith(f"{LOG}/"):
        return path not in live
    numbered: Any = _OF_VERSION.match(path.removeprefix(f"{LOG}/"))
    # The newest commit's own file stays beside its checkpoint: readers list the log from there.
    return bool(numbered) and (int(numbered[1]) < version or path.endswith(".crc"))
