"""Image hashes: known pictures, formats, orientation, animation, limits and broken bytes."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lake.analysis.image_hash import IMAGE_HASH, PARAMS, run
from lake.errors import Damaged, LimitExceeded, Unsupported
from lake.model import Media, Row
from tests.support.analysis_media import encoded, hamming, scene


def hashed(data: bytes, content_type: str, **params: object) -> Row:
    media = Media("0" * 64, content_type, "image", data=data)
    (row,) = run(media, {**PARAMS, **params})
    return row


@pytest.mark.parametrize(
    ("form", "content_type", "options"),
    [
        ("JPEG", "image/jpeg", {"quality": 40}),
        ("WEBP", "image/webp", {"quality": 60}),
        ("TIFF", "image/tiff", {}),
        ("BMP", "image/bmp", {}),
        ("GIF", "image/gif", {}),
    ],
)
def test_a_re_encoded_picture_keeps_its_hashes_and_another_picture_does_not(
    form: str, content_type: str, options: dict[str, int]
) -> None:
    original = hashed(encoded(scene(1), "PNG"), "image/png")
    again = hashed(encoded(scene(1), form, **options), content_type)
    other = hashed(encoded(scene(2), form, **options), content_type)
    assert hamming(original["phash"], again["phash"]) <= 6
    assert hamming(original["dhash"], again["dhash"]) <= 6
    assert hamming(original["phash"], other["phash"]) > 16
    assert (again["width_px"], again["height_px"]) == (320, 240)


def test_half_the_size_is_the_same_picture() -> None:
    large = hashed(encoded(scene(3, 1600, 1200), "JPEG", quality=90), "image/jpeg")
    small = hashed(encoded(scene(3, 1600, 1200).resize((400, 300)), "PNG"), "image/png")
    assert hamming(large["phash"], small["phash"]) <= 4
    assert (large["width_px"], large["height_px"]) == (1600, 1200)


def test_thumbnail_is_a_small_jpeg_of_the_declared_size() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (192, 256, 3), np.uint8))
    row = hashed(encoded(noise, "PNG"), "image/png")
    thumbnail = Image.open(io.BytesIO(row["thumbnail"]))
    assert thumbnail.format == "JPEG"
    assert thumbnail.size == (row["thumbnail_width_px"], row["thumbnail_height_px"])
    assert len(row["thumbnail"]) <= PARAMS["thumbnail_max_bytes"]


@pytest.mark.parametrize("form", ["JPEG", "TIFF", "PNG"])
def test_a_turned_photograph_is_hashed_upright(form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(scene(4).rotate(90, expand=True), form, exif=exif)
    upright = hashed(encoded(scene(4), "PNG"), "image/png")
    row = hashed(turned, f"image/{form.lower()}")
    assert (row["width_px"], row["height_px"]) == (320, 240)
    assert hamming(row["phash"], upright["phash"]) <= 6


def test_an_animation_is_its_first_frame() -> None:
    data = encoded(scene(5), "GIF", save_all=True, append_images=[scene(6), scene(7)])
    assert hamming(hashed(data, "image/gif")["phash"], hashed(encoded(scene(5), "GIF"), "image/gif")["phash"]) == 0


def test_transparency_is_white_and_deep_grey_is_stretched() -> None:
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    thumbnail = Image.open(io.BytesIO(hashed(encoded(clear, "PNG"), "image/png")["thumbnail"]))
    assert thumbnail.getpixel((10, 10)) == (255, 255, 255)
    ramp = np.tile(np.linspace(1000, 1400, 64, dtype=np.uint16), (64, 1))
    grey = hashed(encoded(Image.fromarray(ramp), "PNG"), "image/png")
    columns = np.asarray(Image.open(io.BytesIO(grey["thumbnail"])).convert("L")).mean(axis=0)
    assert columns[0] < 20 and columns[-1] > 235


def test_a_picture_that_declares_gigapixels_is_refused_before_decoding() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )
    with pytest.raises(LimitExceeded, match="pixels"):
        hashed(data, "image/png")
    with pytest.raises(LimitExceeded, match="320 x 240"):
        hashed(encoded(scene(1), "PNG"), "image/png", max_pixels=1000)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF", "BMP"])
def test_truncated_and_random_bytes_are_damaged(form: str) -> None:
    whole = encoded(scene(8), form)
    content_type = f"image/{form.lower()}"
    with pytest.raises(Damaged, match="cannot be decoded"):
        hashed(whole[: len(whole) // 2], content_type)
    with pytest.raises(Damaged, match="cannot be decoded"):
        hashed(np.random.default_rng(1).bytes(2000), content_type)


def test_a_type_without_a_decoder_is_unsupported_by_name() -> None:
    with pytest.raises(Unsupported, match="image/x-unheard-of"):
        hashed(b"\0" * 100, "image/x-unheard-of")
    assert not IMAGE_HASH.applies_to("image", "image/svg+xml")
