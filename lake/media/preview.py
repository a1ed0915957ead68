"""Small pictures of a recording for a page: the outline of a sound, the first page of a PDF. Works in the child."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from lake.errors import Protected, Unsupported
from lake.media.decode import audio_blocks
from lake.media.foreign import decoding
from lake.model import Media

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE_RATE_HZ = 8_000
"""Enough for an outline of a few hundred points."""
MAX_FINE = 8_192
"""Points held while the length is unknown; when there are more, neighbours are joined."""
PAGE_WIDTH_PX = 240
MAX_PAGE_HEIGHT_PX = 480
JPEG_QUALITY = 78


def waveform(args: dict[str, Any]) -> dict[str, Any]:
    """Lowest and highest sample in each of ``buckets`` equal parts, in -100 … 100, and the seconds decoded."""
    media = Media(args["sha256"], args["content_type"], "audio", data=args["data"])
    outline = Outline()
    for block in audio_blocks(media, sample_rate_hz=SAMPLE_RATE_HZ, block_s=10.0):
        outline.add(block)
    low, high = outline.reduced(int(args["buckets"]))
    return {"duration_s": outline.samples / SAMPLE_RATE_HZ, "low": low, "high": high}


class Outline:
    """Extremes of a stream of samples of unknown length, in bounded memory."""

    def __init__(self) -> None:
        self.samples = 0
        self._step = SAMPLE_RATE_HZ // 100
        self._rest: NDArray[np.float32] = np.zeros(0, dtype=np.float32)
        self._low: NDArray[np.float32] = np.zeros(0, dtype=np.float32)
        self._high: NDArray[np.float32] = np.zeros(0, dtype=np.float32)

    def add(self, block: NDArray[np.float32]) -> None:
        """The next samples, mono."""
        self.samples += len(block)
        block = np.concatenate([self._rest, block])
        whole = len(block) // self._step * self._step
        self._rest = block[whole:]
        self._append(block[:whole])
        while len(self._low) > MAX_FINE:
            odd = len(self._low) % 2
            self._low = np.pad(self._low, (0, odd), "edge").reshape(-1, 2).min(axis=1)
            self._high = np.pad(self._high, (0, odd), "edge").reshape(-1, 2).max(axis=1)
            self._step *= 2

    def _append(self, samples: NDArray[np.float32]) -> None:
        parts = samples.reshape(-1, self._step)
        self._low = np.concatenate([self._low, parts.min(axis=1)])
        self._high = np.concatenate([self._high, parts.max(axis=1)])

    def reduced(self, buckets: int) -> tuple[list[int], list[int]]:
        """The extremes of at most ``buckets`` equal parts."""
        low, high = self._low, self._high
        if len(self._rest):
            low, high = np.append(low, self._rest.min()), np.append(high, self._rest.max())
        if not len(low):
            return [], []
        starts = np.unique(np.linspace(0, len(low), min(buckets, len(low)), endpoint=False).astype(int))
        return _percent(np.minimum.reduceat(low, starts)), _percent(np.maximum.reduceat(high, starts))


def _percent(values: NDArray[np.float32]) -> list[int]:
    return [int(v) for v in np.clip(np.rint(values * 100), -100, 100)]


def first_page(args: dict[str, Any]) -> dict[str, Any]:
    """The first page of a PDF as a JPEG 240 px wide; very tall pages are cut off at the bottom."""
    if args["content_type"] != "application/pdf":
        raise Unsupported(f"{args['content_type']} has no pages that are drawn here")
    import pypdfium2 as pdfium

    with decoding("the PDF"):
        try:
            document = pdfium.PdfDocument(args["data"])
        except pdfium.PdfiumError as error:
            if "password" in str(error).lower():
                raise Protected("the PDF needs a password") from error
            raise
        try:
            return {"image": _jpeg(document[0]), "pages": len(document)}
        finally:
            document.close()


def _jpeg(page: Any) -> bytes:
    width_pt, height_pt = page.get_size()
    scale = PAGE_WIDTH_PX / max(width_pt, 1.0)
    cut_pt = max(0.0, height_pt - MAX_PAGE_HEIGHT_PX / scale)
    picture = page.render(scale=scale, crop=(0, cut_pt, 0, 0)).to_pil().convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return buffer.getvalue()
