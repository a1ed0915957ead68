"""A lake in a folder that has stood still: all that tells a time there is moved into the past."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from pathlib import Path

_TIME = re.compile(rb'("(?:timestamp|deletionTimestamp|modificationTime|createdTime)"\s*:\s*)(\d{13})\b')


def stand_still(root: str, by: timedelta) -> None:
    """Make files, and what commits say of themselves, older; checkpoints are left as they are."""
    millis = int(by.total_seconds() * 1000)
    for path in [path for path in Path(root).rglob("*") if path.is_file()]:
        written = path.stat().st_mtime - by.total_seconds()
        if path.parent.name == "_delta_log" and path.suffix == ".json":
            path.write_bytes(
                _TIME.sub(lambda found: found[1] + str(int(found[2]) - millis).encode(), path.read_bytes())
            )
        os.utime(path, (written, written))
