"""Technical metadata of one recording, read from its headers. Works in the decoding child.

Nothing is decoded further than its header, with one exception: what is cut off must be noticed here, so the structure
of a file (boxes, chunks, directories) is walked to its end.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from lake.errors import Damaged
from lake.media.limits import Limits
from lake.media.probe_av import probe_headerless, probe_media, probe_wav
from lake.media.probe_document import probe_mail, probe_ole, probe_pdf, probe_zip
from lake.media.probe_image import probe_image, probe_svg
from lake.media.probe_table import probe_parquet, probe_text
from lake.model import Sniffed, Technical

Probe = Callable[[BinaryIO, Sniffed, int, Limits], Technical]

BY_TYPE: dict[str, Probe] = {
    "audio/x-wav": probe_wav,
    "audio/x-gsm": probe_headerless,
    "audio/L16": probe_headerless,
    "audio/G722": probe_headerless,
    "image/svg+xml": probe_svg,
    "application/pdf": probe_pdf,
    "message/rfc822": probe_mail,
    "application/vnd.apache.parquet": probe_parquet,
    "application/epub+zip": probe_zip,
    "application/msword": probe_ole,
    "application/x-ole-storage": probe_ole,
    "application/x-ole-encrypted-package": probe_ole,
}
"""By content type; where there is none, the family of the type or its kind decides. Adding a format is one line."""

BY_FAMILY: tuple[tuple[str, Probe], ...] = (
    ("application/vnd.openxmlformats", probe_zip),
    ("application/vnd.oasis.opendocument", probe_zip),
    ("application/vnd.ms-word.", probe_zip),
    ("application/vnd.ms-excel.", probe_zip),
    ("application/vnd.ms-powerpoint.", probe_zip),
    ("application/vnd.ms-visio.", probe_zip),
    ("application/vnd.ms-xps", probe_zip),
    ("application/vnd.ms-officetheme", probe_zip),
    ("application/vnd.ms-", probe_ole),
    ("application/vnd.visio", probe_ole),
    ("audio/", probe_media),
    ("video/", probe_media),
    ("image/", probe_image),
)


def probe(sniffed: Sniffed, data: bytes | None, path: str | None, size_bytes: int, limits: Limits) -> Technical:
    """What the bytes say about themselves; unknown is None.

    Raises:
        RecordError: the recording is empty, cut off or broken, or its type promises more than a limit allows.
    """
    if size_bytes == 0:
        raise Damaged("the file is empty (0 bytes)")
    with io.BytesIO(data) if data is not None else Path(path or "").open("rb") as stream:
        technical = _probe_of(sniffed.content_type)(stream, sniffed, size_bytes, limits)
    return dataclasses.replace(technical, notes=technical.notes or None)


def _probe_of(content_type: str) -> Probe:
    if content_type in BY_TYPE:
        return BY_TYPE[content_type]
    return next((each for family, each in BY_FAMILY if content_type.startswith(family)), probe_text)
