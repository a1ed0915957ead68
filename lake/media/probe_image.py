"""Technical metadata of pictures: size and capture time by Pillow, completeness by the structure of each format."""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, BinaryIO

from lake.errors import Damaged
from lake.media.foreign import decoding
from lake.media.limits import Limits
from lake.model import Sniffed, Technical

EXIF_IFD, DATE_TIME_ORIGINAL, OFFSET_TIME_ORIGINAL = 0x8769, 0x9003, 0x9011


def probe_image(stream: BinaryIO, sniffed: Sniffed, size_bytes: int, limits: Limits) -> Technical:
    """Size in pixels, frames of an animation or pages of a TIFF, capture time where EXIF gives one with its zone."""
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # nothing is decoded here; a size over the limit is a note
    name = sniffed.content_type.removeprefix("image/").removeprefix("x-")
    try:
        with decoding(f"the {name} picture"):
            image = Image.open(stream)
    except Damaged as error:
        if isinstance(error.__cause__, UnidentifiedImageError) and sniffed.content_type in NOT_BY_PILLOW:
            return Technical(container=name)
        if isinstance(error.__cause__, UnidentifiedImageError):
            raise Damaged(f"the {name} picture cannot be opened: its header is damaged") from error
        raise
    width, height = image.size
    complete = COMPLETE.get(sniffed.content_type)
    if complete is not None:
        with decoding(f"the {name} picture"):
            complete(stream, size_bytes)
    notes = []
    if width * height > limits.max_pixels:
        notes.append(f"{width * height:,} pixels, over the {limits.max_pixels:,} that are decoded")
    captured, note = _captured(image)
    return Technical(
        container=name,
        width_px=width,
        height_px=height,
        pages=_pages(image),
        captured_at_utc=captured,
        notes="; ".join([*notes, *([note] if note else [])]),
    )


NOT_BY_PILLOW = ("image/heic", "image/heif", "image/avif", "image/x-jp2-codestream", "image/jp2")


def _pages(image: Any) -> int | None:
    """Pages of a TIFF; counting the frames of an animation would decode it."""
    if image.format != "TIFF":
        return None
    with contextlib.suppress(Exception):
        return int(image.n_frames)
    return None


def _captured(image: Any) -> tuple[datetime | None, str | None]:
    """EXIF's time of capture. Without its offset from UTC it is told in the notes and not guessed."""
    if image.format == "PNG" and "exif" not in image.info:
        return None, None  # Pillow would decode the whole picture to look behind it
    with contextlib.suppress(Exception):
        exif = image.getexif().get_ifd(EXIF_IFD)
        text = str(exif.get(DATE_TIME_ORIGINAL) or "").strip("\0 ")
        if not text:
            return None, None
        moment = datetime.strptime(text, "%Y:%m:%d %H:%M:%S")
        offset = re.fullmatch(r"([+-])(\d\d):(\d\d)", str(exif.get(OFFSET_TIME_ORIGINAL) or "").strip("\0 "))
        if offset is None:
            return None, f"captured {moment.isoformat(' ')} by a clock without a zone"
        shift = timedelta(hours=int(offset[2]), minutes=int(offset[3])) * (-1 if offset[1] == "-" else 1)
        return moment.replace(tzinfo=timezone(shift)).astimezone(UTC), None
    return None, None


def _jpeg(stream: BinaryIO, size_bytes: int) -> None:
    """Marker segments up to the scan, then an end of image behind it (ITU T.81, B.1.1)."""
    at = 2
    while True:
        stream.seek(at)
        head = stream.read(4)
        if len(head) < 4:
            raise Damaged("the JPEG picture is cut off before its scan")
        if head[0] != 0xFF:
            return  # no marker where one must be: left to the decoder
        if head[1] == 0xFF or 0xD0 <= head[1] <= 0xD8 or head[1] == 0x01:
            at += 1 if head[1] == 0xFF else 2
            continue
        if head[1] == 0xDA:
            break
        if head[1] == 0xD9:
            raise Damaged("the JPEG picture ends before its scan")
        at += 2 + struct.unpack_from(">H", head, 2)[0]
    if b"\xff\xd9" not in stream.read():
        raise Damaged("the JPEG picture is cut off: its end is missing")


def _png(stream: BinaryIO, size_bytes: int) -> None:
    """Chunks up to IEND (ISO 15948, 5.3)."""
    at = 8
    while at + 12 <= size_bytes:
        stream.seek(at)
        length, name = struct.unpack(">I4s", stream.read(8))
        at += 12 + length
        if name == b"IEND":
            return
    raise Damaged("the PNG picture is cut off: its end is missing")


def _gif(stream: BinaryIO, size_bytes: int) -> None:
    """The trailer; some writers put zeros behind it (GIF89a, 27)."""
    stream.seek(max(0, size_bytes - 4096))
    if not stream.read().rstrip(b"\0\r\n").endswith(b"\x3b"):
        raise Damaged("the GIF picture is cut off: its end is missing")


def _netpbm(stream: BinaryIO, size_bytes: int) -> None:
    """Binary maps have a fixed size behind their header (netpbm, pgm(5))."""
    stream.seek(0)
    head = re.sub(rb"#[^\n]*\n", b" ", stream.read(4096))
    is_bitmap = head.startswith(b"P4")
    # One white space ends the header: pixels may look like more of it.
    found = re.match(rb"P[456]" + rb"\s+(\d+)" * (2 if is_bitmap else 3) + rb"\s?", head)
    if found is None:
        return
    width, height, *largest = map(int, found.groups())
    if is_bitmap:
        need = (width + 7) // 8 * height
    else:
        need = width * height * (3 if head.startswith(b"P6") else 1) * (2 if largest[0] > 255 else 1)
    need += found.end()
    if need > size_bytes:
        raise Damaged(f"the picture is cut off: {size_bytes:,} of {need:,} bytes are there")


def _bmp(stream: BinaryIO, size_bytes: int) -> None:
    """The offset of the pixels must lie in the file; the declared size is often wrong and not trusted."""
    stream.seek(10)
    if struct.unpack("<I", stream.read(4))[0] >= size_bytes:
        raise Damaged("the BMP picture is cut off before its pixels")


def _webp(stream: BinaryIO, size_bytes: int) -> None:
    stream.seek(4)
    declared = struct.unpack("<I", stream.read(4))[0] + 8
    if declared > size_bytes:
        raise Damaged(f"the WebP picture is cut off: {size_bytes:,} of {declared:,} bytes are there")


COMPLETE: dict[str, Callable[[BinaryIO, int], None]] = {
    "image/jpeg": _jpeg,
    "image/png": _png,
    "image/gif": _gif,
    "image/bmp": _bmp,
    "image/webp": _webp,
    "image/x-portable-bitmap": _netpbm,
    "image/x-portable-graymap": _netpbm,
    "image/x-portable-pixmap": _netpbm,
}
"""By content type: raises ``Damaged`` when the end is not there."""


def probe_svg(stream: BinaryIO, sniffed: Sniffed, size_bytes: int, limits: Limits) -> Technical:
    """Size of an SVG by its root; entities stay unexpanded and nothing outside is fetched."""
    from lxml import etree

    with decoding("the SVG picture"):
        parser = etree.XMLPullParser(("start",), resolve_entities=False, no_network=True, load_dtd=False)
        parser.feed(stream.read(65_536))
        _, root = next(iter(parser.read_events()))
        width, height = _length_px(root.get("width")), _length_px(root.get("height"))
        box = re.split(r"[\s,]+", (root.get("viewBox") or "").strip())
        if len(box) == 4:
            width, height = width or _length_px(box[2]), height or _length_px(box[3])
    return Technical(container="svg", width_px=width, height_px=height)


def _length_px(text: str | None) -> int | None:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:px)?", (text or "").strip())
    return round(float(found[1])) if found else None
