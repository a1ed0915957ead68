"""Small things made from one picture: perceptual hashes and a thumbnail of bounded size."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

HASH_SIDE_PX = 256
"""Pictures are shrunk to this before hashing: the hashes look at 32 x 32 points, and shrinking once is cheaper."""

JPEG_QUALITIES = (80, 65, 50, 35, 20)


def shrink(image: Image, side_px: int) -> Image:
    """The picture with its longer side at most ``side_px``; never enlarged. A huge aspect ratio keeps one pixel."""
    from PIL.Image import Resampling

    scale = side_px / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Resampling.BILINEAR, reducing_gap=2.0)


def perceptual_hashes(image: Image) -> tuple[str, str]:
    """pHash and dHash, 64 bits each, as 16 hexadecimal digits: re-encodes and other sizes differ in a few bits."""
    import imagehash

    small = shrink(image, HASH_SIDE_PX).convert("L")
    return str(imagehash.phash(small)), str(imagehash.dhash(small))


def jpeg_thumbnail(image: Image, side_px: int, max_bytes: int) -> tuple[bytes, int, int]:
    """JPEG bytes, width and height of a thumbnail; coarser until it fits ``max_bytes``."""
    small = shrink(image, side_px).convert("RGB")
    while True:
        for quality in JPEG_QUALITIES:
            buffer = io.BytesIO()
            small.save(buffer, "JPEG", quality=quality, optimize=True)
            if buffer.tell() <= max_bytes or max(small.size) <= 32:
                return buffer.getvalue(), small.width, small.height
        small = shrink(small, max(32, max(small.size) * 3 // 4))
