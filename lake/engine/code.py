"""The lake's own code as one thing with a content hash: what a server's workers run is what the verb is."""

from __future__ import annotations

import compileall
import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("connectors", "jobs", "lake")
SOURCES = Path(__file__).resolve().parents[2]
EPOCH = (1980, 1, 1, 0, 0, 0)


def code_hash(sources: Path = SOURCES) -> str:
    """16 hexadecimal digits that change with every byte and name of the code; a few milliseconds."""
    found = hashlib.sha256()
    for name, path in _files(sources):
        data = path.read_bytes()
        found.update(f"{name} {len(data)}\n".encode() + data)
    return found.hexdigest()[:16]


def snapshot(folder: Path, sources: Path = SOURCES) -> Path:
    """A copy of the code that nobody edits, ``folder/code-HASH``, compiled; others than it are left alone.

    Workers that import from it cannot meet an edit half way, as they would in a checkout.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="copying-") as scratch:
        copy = Path(scratch) / "code"
        for name, path in _files(sources):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy / name)
        # Of what was copied, not of what lies in the sources by now.
        place = folder / f"code-{code_hash(copy)}"
        if not place.exists():
            compileall.compile_dir(copy, quiet=2, stripdir=copy, prependdir=str(place))
            _rename(copy, place)
    return place


def code_zip(folder: Path, sources: Path = SOURCES) -> Path:
    """The code as ``folder/perception-lake-HASH.zip`` for a server elsewhere; the same bytes on every machine."""
    place = folder / f"perception-lake-{code_hash(sources)}.zip"
    if not place.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = place.with_suffix(f".{os.getpid()}")
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, path in _files(sources):
                archive.writestr(zipfile.ZipInfo(name, EPOCH), path.read_bytes())
        partial.replace(place)
    return place


def _files(sources: Path) -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted(p for p in (sources / package).rglob("*") if p.suffix in (".py", ".jar")):
            yield path.relative_to(sources).as_posix(), path


def _rename(copy: Path, place: Path) -> None:
    try:
        copy.rename(place)
    except OSError:
        if not place.exists():  # another start was quicker: it has the same bytes
            raise
