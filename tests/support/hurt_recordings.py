"""Recordings that are hurt in every way, and an analysis that comes to harm by them as a decoder would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.support.analysis_media import encoded, scene

SIDE_PX = 64
WIDTHS_PX = {"endless": 65, "ending": 66, "crashing": 67, "eating": 68}
"""By its width the analysis knows how a picture is to hurt it."""

LIMIT_S = 2.0

HURT_ANALYSIS = f"""
import ctypes
import os

import numpy as np
import pyarrow as pa

from lake.analysis.base import Analysis
from lake.analysis.image_hash import decoded


def run(media, params):
    picture = np.asarray(decoded(media, 10**7).convert("L"))
    width = picture.shape[1]
    while width == {WIDTHS_PX["endless"]}:
        pass
    if width == {WIDTHS_PX["ending"]}:
        os._exit(3)
    if width == {WIDTHS_PX["crashing"]}:
        ctypes.string_at(0)
    if width == {WIDTHS_PX["eating"]}:
        bytearray(10 * 1024**3)
    yield {{"grey": float(picture.mean())}}


FIELDS = pa.schema([("grey", pa.float64())])
MEAN_GREY = Analysis("mean_grey", "1", ("image",), (), FIELDS, run, time_limit_s={LIMIT_S})
"""


@dataclass(frozen=True)
class Hurt:
    """A bad recording, and what the lake is to call it."""

    data: Callable[[], bytes]
    error_class: str
    said: str
    """Part of its message."""


def good_picture(number: int, width_px: int = SIDE_PX) -> bytes:
    return encoded(scene(number, width_px, SIDE_PX), "PNG")


def _cut() -> bytes:
    whole = good_picture(1001)
    return whole[: len(whole) // 2]


def _scrambled() -> bytes:
    """Begins and ends as a picture does, so that it is landed; its pixels cannot be decoded."""
    whole = good_picture(1002)
    return whole[:41] + bytes([255] * 40) + whole[81:]


HURT = (
    Hurt(_cut, "Damaged", "cut off"),
    Hurt(_scrambled, "Damaged", "the image"),
    Hurt(lambda: good_picture(1003, WIDTHS_PX["endless"]), "LimitExceeded", f"within {LIMIT_S:g} s"),
    Hurt(lambda: good_picture(1004, WIDTHS_PX["ending"]), "DecoderCrashed", "exit status 3"),
    Hurt(lambda: good_picture(1005, WIDTHS_PX["crashing"]), "DecoderCrashed", "signal 11"),
    Hurt(lambda: good_picture(1006, WIDTHS_PX["eating"]), "LimitExceeded", "memory"),
)
