"""Packages that the bench alone uses, each in a folder of the cache and not among those of the lake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lake.settings import cache_dir


def installed(name: str, version: str, *wanted: str) -> Path | None:
    """A folder with a package of a version and what is ``wanted`` with it; None where there is no way to get it."""
    folder = cache_dir() / f"{name}-{version}"
    if not (folder / name).is_dir():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), *wanted]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            print(f"bench: {name} cannot be installed and is left out", file=sys.stderr)
            return None
    return folder
