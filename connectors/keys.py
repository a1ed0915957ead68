"""Keys of arrivals: text that any table, log and URL can hold, and the way back to the bytes of a name."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

_NO_UTF8 = re.compile("[\udc80-\udcff]")


def path_to_key(path: bytes) -> str:
    """The key of a path below the source: UTF-8, with ``%`` and bytes that are no UTF-8 written as ``%XX``."""
    return readable(path.decode("utf-8", "surrogateescape").replace("%", "%25"))


def readable(text: str) -> str:
    """Text that names paths, as Python has them, with their bytes that are no UTF-8 written as in a key."""
    return _NO_UTF8.sub(lambda match: f"%{match[0].encode('utf-8', 'surrogateescape')[0]:02X}", text)


def key_to_path(key: str) -> bytes:
    """The path below the source that ``path_to_key`` made this key of."""
    return unquote_to_bytes(key)
