"""A camera: segments of H.264 in MP4 with a view, things that move through it, and a burnt-in clock."""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEGMENT_S = 10
FRAME_RATE_HZ = 10
WIDTH_PX, HEIGHT_PX = 480, 272

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """Where the camera looks between two turns."""

    start_s: float
    background: Image
    objects: tuple[tuple[float, float, float, float, int, tuple[int, int, int]], ...]
    """Position, velocity in pixels a second, size and colour of each thing that moves."""


def turns(seed: list[int], length_s: float) -> list[float]:
    """Seconds at which the camera turns elsewhere: on a frame, and at least 2 s from the ends of a segment."""
    rng = np.random.default_rng([*seed, 1])
    at_s, found = 0.0, list[float]()
    while True:
        at_s = round(at_s + rng.uniform(5, 14), 1)
        within = at_s % SEGMENT_S
        at_s = round(at_s + max(0.0, 2 - within) - max(0.0, within - (SEGMENT_S - 2)), 1)
        if at_s >= length_s:
            return found
        found.append(at_s)


def views(seed: list[int], length_s: float) -> list[View]:
    """The views of a camera over its whole recording; neighbours differ in brightness and colour."""
    starts = [0.0, *turns(seed, length_s)]
    return [_view(np.random.default_rng([*seed, 2, index]), index, start) for index, start in enumerate(starts)]


def segment(label: str, seen: list[View], offset_s: float, started_at: datetime) -> bytes:
    """One MP4 of ``SEGMENT_S`` seconds from ``offset_s`` on; the device believes that it is ``started_at`` then."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        container.metadata["creation_time"] = started_at.isoformat().replace("+00:00", "Z")
        stream: Any = container.add_stream("libx264", rate=FRAME_RATE_HZ)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        # One thread and a fixed quantiser: several threads cut the picture by the number of cores, and the rate
        # control of x264 gave other bytes now and then when several encoders ran at once (measured).
        stream.options = {"preset": "veryfast", "qp": "26", "threads": "1", "g": str(FRAME_RATE_HZ * 5)}
        for index in range(SEGMENT_S * FRAME_RATE_HZ):
            at_s = index / FRAME_RATE_HZ
            picture = _picture(label, seen, offset_s + at_s, started_at + timedelta(seconds=at_s))
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, "bgr24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return buffer.getvalue()


def still(label: str, seen: list[View], offset_s: float, at: datetime) -> Image:
    """One picture (BGR) with its clock."""
    return _picture(label, seen, offset_s, at)


def _view(rng: np.random.Generator, index: int, start_s: float) -> View:
    import cv2

    dark, light = (20, 90), (140, 235)
    low, high = dark if index % 2 else light
    top, bottom = rng.integers(low, high, 3), rng.integers(low, high, 3)
    ramp = np.linspace(0, 1, HEIGHT_PX)[:, None, None]
    background = np.broadcast_to(top * (1 - ramp) + bottom * ramp, (HEIGHT_PX, WIDTH_PX, 3)).astype(np.uint8).copy()
    for _ in range(14):  # houses, doors, shelves
        x, y = int(rng.integers(0, WIDTH_PX)), int(rng.integers(60, HEIGHT_PX))
        size = rng.integers(20, 110, 2)
        colour = [int(c) for c in rng.integers(low, high, 3)]
        cv2.rectangle(background, (x, y), (x + int(size[0]), y + int(size[1])), colour, -1)
    objects = tuple(
        (
            float(rng.uniform(0, WIDTH_PX)),
            float(rng.uniform(80, HEIGHT_PX - 30)),
            float(rng.choice((-1, 1)) * rng.uniform(25, 70)),
            float(rng.uniform(-12, 12)),
            int(rng.integers(10, 26)),
            (int(rng.integers(256)), int(rng.integers(256)), int(rng.integers(256))),
        )
        for _ in range(int(rng.integers(2, 6)))
    )
    return View(start_s, background, objects)


def _picture(label: str, seen: list[View], offset_s: float, clock: datetime) -> Image:
    import cv2

    # Half a frame of tolerance: sums of tenths are not exact.
    view = next(each for each in reversed(seen) if each.start_s <= offset_s + 0.5 / FRAME_RATE_HZ)
    picture = view.background.copy()
    for x, y, speed_x, speed_y, size, colour in view.objects:
        at = (_bounce(x + speed_x * offset_s, WIDTH_PX), _bounce(y + speed_y * offset_s, HEIGHT_PX))
        cv2.circle(picture, at, size, colour, -1)
    text = f"{label.upper()} {clock:%Y-%m-%d %H:%M:%S}.{clock.microsecond // 100_000}"
    cv2.rectangle(picture, (0, 0), (WIDTH_PX, 26), (0, 0, 0), -1)
    cv2.putText(picture, text, (8, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (255, 255, 255), 1)
    return picture


def _bounce(position: float, limit: int) -> int:
    """A point that moves along a line and turns at its ends."""
    position %= 2 * limit
    return int(2 * limit - position if position > limit else position)
