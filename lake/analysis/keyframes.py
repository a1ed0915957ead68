"""Shots of a video and one representative frame of each: one pass of decoding, few small pictures held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lake.analysis.base import Analysis
from lake.analysis.picture import jpeg_thumbnail, perceptual_hashes
from lake.model import Media, Row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Frame = NDArray[np.uint8]

FIELDS = pa.schema(
    [
        ("keyframe_s", pa.float64()),
        ("phash", pa.string()),
        ("thumbnail", pa.binary()),
        ("thumbnail_width_px", pa.int32()),
        ("thumbnail_height_px", pa.int32()),
    ]
)

PARAMS: dict[str, Any] = {
    "adaptive_threshold": 3.0,
    "min_content_val": 15.0,
    "min_shot_s": 0.5,
    "thumbnail_side_px": 256,
    "thumbnail_max_bytes": 10_240,
}

CANDIDATES = 16
"""Pictures held of the running shot; the one nearest to its middle becomes its key frame."""
LATENCY = 2
"""A cut is told this many frames after it happened: it takes that many on both sides to judge one."""


@dataclass(frozen=True)
class Candidate:
    """A frame that may come to stand for its shot, already small."""

    index: int
    time_s: float
    picture: Frame


@dataclass(frozen=True)
class Shot:
    """Frames between two cuts: first frame, times of begin and end, and the frame that stands for them."""

    first_index: int
    start_s: float
    end_s: float
    key: Candidate


def run(media: Media, params: Mapping[str, Any]) -> Iterator[Row]:
    """One row a shot, as soon as it ends; ``frame`` is the number of the key frame. No picture, no row."""
    from lake.media.decode import iter_video_frames

    for shot in find_shots(iter_video_frames(media, within_px=int(params["thumbnail_side_px"])), params):
        yield _row(shot, params)


def find_shots(frames: Iterable[tuple[float, Frame]], params: Mapping[str, Any]) -> Iterator[Shot]:
    """Shots of a stream of frames (time, small BGR picture), cut by PySceneDetect's adaptive detector.

    A picture of another shape is a cut of its own: the detector compares neighbours of one shape.
    """
    import cv2

    cv2.setNumThreads(1)
    min_shot_s = float(params["min_shot_s"])
    shape: tuple[int, ...] = ()
    shot: _OpenShot | None = None
    times: dict[int, float] = {}
    last_s = frame_s = 0.0
    for index, (time_s, picture) in enumerate(frames):
        times[index] = time_s
        times.pop(index - 2 * LATENCY - 1, None)
        if index:
            frame_s = time_s - last_s
        last_s = time_s
        if shot is None or picture.shape != shape:
            if shot is not None:
                yield shot.closed(max(time_s, shot.start_s))
            shot, shape = _OpenShot(index, time_s), picture.shape
            detector, timecode = _detector(params)
        shot.add(Candidate(index, time_s, picture))
        for cut in detector.process_frame(timecode(index), picture):
            cut_index = int(cut.frame_num)
            cut_s = times.get(cut_index, time_s)
            if cut_index <= shot.first_index or cut_s - shot.start_s < min_shot_s:
                continue
            following = _OpenShot(cut_index, cut_s)
            for candidate in shot.take_from(cut_index):
                following.add(candidate)
            yield shot.closed(cut_s)
            shot = following
    if shot is not None:
        yield shot.closed(max(last_s + frame_s, shot.start_s))


class _OpenShot:
    """The running shot. Holds every n-th frame, n doubling when it holds enough, and the very last ones."""

    def __init__(self, first_index: int, start_s: float) -> None:
        self.first_index = first_index
        self.start_s = start_s
        self._stride = 1
        self._held: list[Candidate] = []
        self._recent: list[Candidate] = []

    def wants(self, index: int) -> bool:
        """Whether a frame of this number will be held beyond the next few."""
        return (index - self.first_index) % self._stride == 0

    def add(self, candidate: Candidate) -> None:
        """The next frame; held if its number is wanted."""
        self._recent = [*self._recent[-2 * LATENCY :], candidate]
        if not self.wants(candidate.index):
            return
        self._held.append(candidate)
        if len(self._held) > CANDIDATES:
            self._stride *= 2
            self._held = [held for held in self._held if self.wants(held.index)]

    def take_from(self, index: int) -> list[Candidate]:
        """The frames from ``index`` on, which belong to the next shot, removed from this one."""
        taken = [candidate for candidate in self._recent if candidate.index >= index]
        self._held = [candidate for candidate in self._held if candidate.index < index]
        return taken

    def closed(self, end_s: float) -> Shot:
        middle_s = (self.start_s + end_s) / 2
        key = min(self._held, key=lambda candidate: abs(candidate.time_s - middle_s))
        return Shot(self.first_index, self.start_s, end_s, key)


def _detector(params: Mapping[str, Any]) -> tuple[Any, Any]:
    """PySceneDetect's detector and what makes its time codes.

    It only counts frames here (nominal rate 25): real times come with the frames, so that variable rates stay right.
    """
    from scenedetect.common import FrameTimecode
    from scenedetect.detectors.adaptive_detector import AdaptiveDetector

    detector = AdaptiveDetector(
        adaptive_threshold=float(params["adaptive_threshold"]),
        min_content_val=float(params["min_content_val"]),
        min_scene_len=1,
        window_width=LATENCY,
    )
    return detector, lambda index: FrameTimecode(index, fps=25.0)


def _row(shot: Shot, params: Mapping[str, Any]) -> Row:
    from PIL import Image

    image = Image.fromarray(shot.key.picture[:, :, ::-1].copy())
    thumbnail, width_px, height_px = jpeg_thumbnail(
        image, int(params["thumbnail_side_px"]), int(params["thumbnail_max_bytes"])
    )
    return {
        "start_s": shot.start_s,
        "end_s": shot.end_s,
        "frame": shot.key.index,
        "keyframe_s": shot.key.time_s,
        "phash": perceptual_hashes(image)[0],
        "thumbnail": thumbnail,
        "thumbnail_width_px": width_px,
        "thumbnail_height_px": height_px,
    }


KEYFRAMES = Analysis(
    name="keyframes",
    version="3",
    media_kinds=("video",),
    piece=("start_s", "end_s", "frame"),
    fields=FIELDS,
    run=run,
    params=PARAMS,
    time_limit_s=900.0,
)
