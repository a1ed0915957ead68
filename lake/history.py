"""Forgetting the past of a Delta table: nothing is left but what its newest version says. No JVM; runs on the driver.

``VACUUM`` and the log's own clean-up keep what their retention says, and the log keeps the least and greatest values of
columns of files that are long gone. Here the newest version becomes a checkpoint, and what is older goes at once. Only
who is alone in the lake may do this (``lake.store.alone``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from lake.delta_errors import delta_errors
from lake.tables import Tables

LOG = "_delta_log"
_OF_VERSION = re.compile(r"(\d{20})\.")


@dataclass(frozen=True)
class Forgotten:
    """Files of a table that were deleted, or would be."""

    files: int
    size_bytes: int


def forget_history(tables: Tables, name: str, *, dry_run: bool = False) -> Forgotten:
    """Delete every file that the newest version of a table does not need: data, change feed, log, leftovers of crashes.

    Readers of older versions fail from then on. A call that was killed is completed by the next.
    """
    from pyarrow import fs

    with delta_errors(tables.uri(name)):
        table = tables.open(name)
        if not dry_run:
            table.create_checkpoint()
        live = {unquote(path) for path in table.get_add_actions(flatten=True)["path"].to_pylist()}
    filesystem = tables.filesystem(name)
    found = filesystem.get_file_info(fs.FileSelector("", recursive=True))
    gone = [info for info in found if info.is_file and _is_past(info.path, live, int(table.version()))]
    if not dry_run:
        for info in gone:
            _delete(filesystem, info.path)
    return Forgotten(len(gone), sum(info.size for info in gone))


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
