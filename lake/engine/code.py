"""A copy of the lake's own code for the warm engine: what its workers run is what the verb is."""

from __future__ import annotations

import compileall
import tempfile
from pathlib import Path

from lake.cluster.code import code_files, short_hash


def snapshot(folder: Path) -> Path:
    """A copy of this process's code that nobody edits, ``folder/code-HASH``, compiled; others are left alone.

    Workers that import from it cannot meet an edit half way, as they would in a checkout.
    """
    files = code_files()
    place = folder / f"code-{short_hash(files)}"
    if place.exists():
        return place
    with tempfile.TemporaryDirectory(dir=folder, prefix="copying-") as scratch:
        copy = Path(scratch) / "code"
        for name, data in files.items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(data)
        compileall.compile_dir(copy, quiet=2, stripdir=copy, prependdir=str(place))
        _rename(copy, place)
    return place


def _rename(copy: Path, place: Path) -> None:
    try:
        copy.rename(place)
    except OSError:
        if not place.exists():  # another start was quicker: it has the same bytes
            raise
