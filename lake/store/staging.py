"""The staging folder of a root that is a folder: files that are not yet objects, on the same filesystem.

Tasks spool in folders below it, those of a run in one folder. The driver deletes that when the run ends, for workers
that are killed delete nothing. What a driver left that was killed itself is deleted by ``lake maintain``.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lake.store.foreign import STAGING
from lake.store.objects import FolderStore, ObjectStore


@contextmanager
def spool(folder: str | None) -> Iterator[Path]:
    """A folder of one task's own, gone when the block ends. Runs on the executor.

    It lies below ``folder``, which is made if need be; None is the system's folder for temporary files.
    """
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lake-", dir=folder) as own:
        yield Path(own)


def clear_staging(store: ObjectStore, since: float) -> None:
    """Delete what runs that were killed left in the staging folder of a root; a bucket has none.

    What is newer than ``since`` (seconds since 1970) belongs to runs at work, or that wait for their turn.
    """
    staging = Path(store.root, STAGING)
    for left in staging.iterdir() if isinstance(store, FolderStore) and staging.exists() else ():
        with suppress(FileNotFoundError):
            if left.stat().st_mtime < since:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
