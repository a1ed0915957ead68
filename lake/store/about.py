"""What is known of a large blob, in a small object beside it: what its frame would say if it lay in a pack.

One line of JSON and the CRC-32C of that line in hexadecimal; docs/pack-format.md shows one.
"""

from __future__ import annotations

import json

from lake.errors import IntegrityError
from lake.model import BlobRef
from lake.store.codec import RAW
from lake.store.pack import crc32c

SUFFIX = ".about"
FORMAT = 1


def about_key(blob_key: str) -> str:
    """Where the description of a large blob lies."""
    return blob_key + SUFFIX


def about(ref: BlobRef, device_id: str | None) -> bytes:
    """The description of a large blob."""
    said = {
        "format": FORMAT,
        "sha256": ref.sha256,
        "size_bytes": ref.size_bytes,
        "crc32c": ref.crc32c,
        "content_type": ref.content_type,
        "device_id": device_id,
    }
    if ref.codec != RAW:
        said |= {"codec": ref.codec, "length": ref.length}
    line = json.dumps(said).encode()
    return line + b"\n" + _check(line)


def _check(line: bytes) -> bytes:
    return f"{crc32c(line):08x}\n".encode()


def parse_about(data: bytes, blob_key: str) -> tuple[BlobRef, str | None]:
    """The large blob at a key and its device; ``IntegrityError`` when the description is not what was written."""
    line, _, check = data.partition(b"\n")
    if check != _check(line):
        raise IntegrityError("the description of a large blob is damaged: its checksum differs")
    try:
        said = json.loads(line)
        if said["format"] != FORMAT:
            raise IntegrityError(f"the description is of format {said['format']}, this lake reads {FORMAT}")
        size = int(said["size_bytes"])
        length, codec = int(said.get("length", size)), str(said.get("codec", RAW))
        ref = BlobRef(said["sha256"], size, blob_key, 0, length, codec, int(said["crc32c"]), said["content_type"])
        return ref, said["device_id"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise IntegrityError(f"the description of a large blob is damaged: {error}") from error
