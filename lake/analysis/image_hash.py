"""Perceptual hashes, size and a thumbnail of an image: finds re-encodes and other sizes of the same picture."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lake.analysis.base import Analysis
from lake.analysis.picture import HASH_SIDE_PX, jpeg_thumbnail, perceptual_hashes
from lake.errors import LimitExceeded, Unsupported
from lake.media.foreign import decoding
from lake.model import Media, Row

if TYPE_CHECKING:
    from PIL.Image import Image

FIELDS = pa.schema(
    [
        ("phash", pa.string()),
        ("dhash", pa.string()),
        ("width_px", pa.int32()),
        ("height_px", pa.int32()),
        ("thumbnail", pa.binary()),
        ("thumbnail_width_px", pa.int32()),
        ("thumbnail_height_px", pa.int32()),
    ]
)

PARAMS: dict[str, Any] = {
    "max_pixels": 100_000_000,
    "thumbnail_side_px": 256,
    "thumbnail_max_bytes": 10_240,
}


def run(media: Media, params: Mapping[str, Any]) -> Iterator[Row]:
    """One row an image; of an animation the first frame. Width and height are those of the upright picture."""
    side_px = int(params["thumbnail_side_px"])
    with _opened(media, int(params["max_pixels"])) as image:
        with decoding("the image"):
            width_px, height_px, upright = _decode(image, max(side_px, HASH_SIDE_PX))
        phash, dhash = perceptual_hashes(upright)
        thumbnail, thumbnail_width_px, thumbnail_height_px = jpeg_thumbnail(
            upright, side_px, int(params["thumbnail_max_bytes"])
        )
    yield {
        "phash": phash,
        "dhash": dhash,
        "width_px": width_px,
        "height_px": height_px,
        "thumbnail": thumbnail,
        "thumbnail_width_px": thumbnail_width_px,
        "thumbnail_height_px": thumbnail_height_px,
    }


def decoded(media: Media, max_pixels: int) -> Image:
    """The first frame of an image, upright, in RGB and at its full size; for analyses that look at the picture.

    All of a recording look at the same one: they may not change it.
    """
    if media.shared is None:
        return _picture(media, max_pixels)
    picture: Image = media.shared.once((decoded, max_pixels), lambda: _picture(media, max_pixels))
    return picture


def _picture(media: Media, max_pixels: int) -> Image:
    with _opened(media, max_pixels) as image, decoding("the image"):
        _, _, upright = _decode(image, max(image.size))
    return upright


@contextmanager
def _opened(media: Media, max_pixels: int) -> Iterator[Image]:
    """The image with only its header read, refused when it declares more pixels than allowed."""
    import warnings

    from PIL import Image, UnidentifiedImageError

    source: Any = io.BytesIO(media.data) if media.data is not None else media.path
    with warnings.catch_warnings():
        # Pillow's own limit speaks as a warning first; ours is checked below, before any pixel is decoded.
        warnings.simplefilter("ignore")
        try:
            with decoding("the image"):
                try:
                    image = Image.open(source)
                except UnidentifiedImageError:
                    _refuse_unknown(media.content_type)
                    raise
                except Image.DecompressionBombError:
                    raise LimitExceeded(f"the image declares more than the {max_pixels:,} pixels allowed") from None
            with image:
                pixels = image.width * image.height
                if pixels > max_pixels:
                    raise LimitExceeded(
                        f"the image declares {image.width} x {image.height} = {pixels:,} pixels,"
                        f" more than the {max_pixels:,} allowed"
                    )
                yield image
        finally:
            if isinstance(source, io.BytesIO):
                source.close()


def _refuse_unknown(content_type: str) -> None:
    """Raises ``Unsupported`` for a type no decoder here reads; returns when a decoder exists, so the bytes are bad."""
    from PIL import Image

    Image.init()
    if content_type not in Image.MIME.values() and content_type not in ALSO_READ:
        raise Unsupported(f"no decoder here reads images of type {content_type}")


ALSO_READ = frozenset(
    {"image/x-portable-graymap", "image/x-portable-pixmap", "image/x-portable-bitmap", "image/x-ms-bmp", "image/x-tga"}
)
"""Other names for types that Pillow reads."""


def _decode(image: Image, needed_px: int) -> tuple[int, int, Image]:
    """Upright width and height, and the first frame in RGB, decoded at a fraction of its size where JPEG allows it."""
    from PIL import ImageOps

    width_px, height_px = image.size
    if image.getexif().get(0x0112, 1) in (5, 6, 7, 8):
        width_px, height_px = height_px, width_px
    fraction = image.draft("RGB", (needed_px * 2, needed_px * 2))
    image.load()
    upright = ImageOps.exif_transpose(_flat_rgb(image))
    # Of what is decoded whole the size is seen: that of a TIFF is turned already when it is opened.
    return (width_px, height_px, upright) if fraction else (*upright.size, upright)


def _flat_rgb(image: Image) -> Image:
    """The picture in 8-bit RGB: transparency over white, deep grey stretched from its darkest to its lightest."""
    import numpy as np
    from PIL import Image as Pillow

    if image.mode[0] in "IF":
        deep = np.nan_to_num(np.asarray(image, dtype=np.float32))
        low, high = float(deep.min()), float(deep.max())
        scaled = (deep - low) * (255.0 / (high - low)) if high > low else np.zeros_like(deep)
        return Pillow.fromarray(scaled.astype(np.uint8)).convert("RGB")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        with_alpha = image.convert("RGBA")
        flat = Pillow.new("RGBA", with_alpha.size, "white")
        flat.alpha_composite(with_alpha)
        return flat.convert("RGB")
    return image.convert("RGB")


def _is_raster(content_type: str) -> bool:
    return content_type != "image/svg+xml"


IMAGE_HASH = Analysis(
    name="image_hash",
    version="1",
    media_kinds=("image",),
    piece=(),
    fields=FIELDS,
    run=run,
    params=PARAMS,
    accepts=_is_raster,
    time_limit_s=60.0,
)
