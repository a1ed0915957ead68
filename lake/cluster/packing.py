"""Files that a submission sends along, made once for what they hold and kept in the cache. Runs on the driver."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from lake.cluster.code import code_hash, write_zip
from lake.errors import UsageError

LEFT_OUT = ("__pycache__", "pyspark/jars", "pyspark/examples")
"""Parts of paths that executors do without: Spark's own JARs they have, the rest is for people and compilers."""
LEFT_OUT_ON_TOP = ("include", "share")
"""Folders of the environment itself; a package may have data of its own in one of that name."""


def environment_archive(
    named: str, folder: Path, prefix: str = sys.prefix, base: str = sys.base_prefix, *, make: bool = True
) -> Path:
    """The archive of packages a profile names: a ``.tar.gz`` of one's own, or this virtual environment as it is now.

    A virtual environment names its Python by path: the nodes need the same Python there. An archive of conda-pack
    brings its own.

    Raises:
        UsageError: no such file, or ``packed`` and this process runs in no virtual environment.
    """
    if named != "packed":
        if not Path(named).is_file():
            raise UsageError(f"spark.environment {named}: no such archive; name a .tar.gz, or write packed")
        return Path(named).absolute()
    if prefix == base:
        raise UsageError(f"spark.environment packed: {prefix} is no virtual environment; name a .tar.gz")
    path = folder / f"environment-{_installed()}.tar.gz"
    if make and not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        print(f"lake: packing {prefix} for the executors, once for these packages", file=sys.stderr, flush=True)
        pack_environment(Path(prefix), path)
    return path


def _installed() -> str:
    """A short hash of Python, of every distribution with its version, and of what is left out."""
    named = sorted(f"{each.metadata['Name']}=={each.version}" for each in importlib.metadata.distributions())
    words = [sys.version, sys.prefix, *LEFT_OUT, *LEFT_OUT_ON_TOP, *named]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]


def pack_environment(prefix: Path, target: Path) -> None:
    """Write a virtual environment as an archive that appears whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=target.name, delete=False) as partial:
        try:
            with tarfile.open(fileobj=partial, mode="w:gz", compresslevel=1) as archive:
                for path in _kept(prefix):
                    archive.add(path, path.relative_to(prefix).as_posix(), recursive=False)
            Path(partial.name).replace(target)
        except BaseException:
            Path(partial.name).unlink()
            raise


def _kept(prefix: Path) -> Iterable[Path]:
    for path in sorted(prefix.rglob("*")):
        relative = path.relative_to(prefix)
        below = f"/{relative.as_posix()}/"
        if relative.parts[0] not in LEFT_OUT_ON_TOP and not any(f"/{part}/" in below for part in LEFT_OUT):
            yield path


def conf_archive(conf_dir: Path, folder: Path, *, make: bool = True) -> Path:
    """The folder of settings as a zip, for a driver in the cluster; it holds no secrets (``lake.settings``)."""
    paths = sorted(path for path in conf_dir.rglob("*.yaml") if path.is_file())
    files = {path.relative_to(conf_dir).as_posix(): path.read_bytes() for path in paths}
    path = folder / f"conf-{code_hash(files)[:16]}.zip"
    if make and not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_zip(path, files)
    return path
