"""What all contenders of the speed part must agree on before any time of theirs is compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def digest(contents: Iterable[tuple[str, int]]) -> str:
    """One checksum over (sha256, size) of every record, duplicates counted, in any order."""
    return hashlib.sha256("\n".join(sorted(f"{sha256} {size}" for sha256, size in contents)).encode()).hexdigest()
