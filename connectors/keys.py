"""Keys of arrivals: text that any table, log and URL can hold, and the way back to the bytes of a name."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

_ESCAPED = re.compile("[%\udc80-\udcff]")


def path_to_key(path: bytes) -> str:
    """The key of a path below the source: UTF-8, with ``%`` and bytes that are no UTF-8 written as ``%XX``."""
    text = path.decode("utf-8", "surrogateescape")
    return _ESCAPED.sub(lambda match: f"%{match[0].encode('utf-8', 'surrogateescape')[0]:02X}", text)


def key_to_path(key: str) -> bytes:
    """The path below the source that ``path_to_key`` made this key of."""
    return unquote_to_bytes(key)
