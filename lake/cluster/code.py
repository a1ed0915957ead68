"""The lake's own code: its hash, wherever it was imported from, and the one zip that brings it to executors.

Only the standard library is used here: these functions also travel to executors whose own copy is in question.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

PACKAGES = ("connectors", "jobs", "lake")
NAME = "perception-lake"


def code_files() -> dict[str, bytes]:
    """Every file of the packages as this process would import them, by its path below the root of the zip.

    Runs anywhere; a package that is not there has no files.
    """
    found: dict[str, bytes] = {}
    for package in PACKAGES:
        place = _place(package)
        if place is not None:
            found |= _of_folder(place) if place.is_dir() else _of_zip(place, package)
    return found


def _place(package: str) -> Path | None:
    """Where a package lies: its folder, or the zip that has it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations)))
    return folder if folder.is_dir() else folder.parent


def _of_folder(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder.parent).as_posix(): path.read_bytes()
        for path in files
        if "__pycache__" not in path.parts and path.suffix != ".pyc"
    }


def _of_zip(path: Path, package: str) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as zipped:
        names = [name for name in zipped.namelist() if name.startswith(f"{package}/") and not name.endswith("/")]
        return {name: zipped.read(name) for name in names}


def code_hash(files: Mapping[str, bytes]) -> str:
    """One hash of names and contents: equal code has equal hashes, in a folder as in a zip."""
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{hashlib.sha256(files[name]).hexdigest()} {name}\n".encode())
    return whole.hexdigest()


def short_hash(files: Mapping[str, bytes]) -> str:
    """Enough of the hash for a name, and for telling one code from another."""
    return code_hash(files)[:16]


def code_zip(folder: Path, *, make: bool = True) -> Path:
    """The zip of this process's code below a folder, written when it is not there. Runs on the driver.

    Its name carries the hash, so a changed file is another zip and no executor takes an old one for it.
    """
    files = code_files()
    path = folder / zip_name(files)
    if make and not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_zip(path, files)
    return path


def zip_name(files: Mapping[str, bytes]) -> str:
    """The name of the zip of these files."""
    return f"{NAME}-{short_hash(files)}.zip"


def write_zip(path: Path, files: Mapping[str, bytes]) -> None:
    """Write files as a zip, equal bytes for equal files, and let it appear whole or not at all."""
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=path.stem)
    with os.fdopen(descriptor, "wb") as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            zipped.writestr(entry, files[name])
    Path(partial).chmod(0o644)
    Path(partial).replace(path)
