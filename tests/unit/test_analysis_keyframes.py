"""Shots: the cuts that were made, no cuts, uneven times, bounded memory and representative frames."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lake.analysis.keyframes import CANDIDATES, LATENCY, PARAMS, Candidate, Shot, _OpenShot, _row, find_shots
from tests.support.analysis_media import hamming, scene


def film(
    lengths: Sequence[int], fps: float = 25.0, size: tuple[int, int] = (320, 240)
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Shots of the given lengths in frames: each its own scene, slowly panned, with camera noise."""
    rng = np.random.default_rng(0)
    index = 0
    for number, length in enumerate(lengths):
        picture = np.asarray(scene(100 + number, *size))[:, :, ::-1].astype(np.int16)
        for step in range(length):
            moved = np.roll(picture, step, axis=1) + rng.integers(-4, 5, (size[1], size[0], 1))
            yield index / fps, np.clip(moved, 0, 255).astype(np.uint8)
            index += 1


def shots_of(frames: Iterator[tuple[float, NDArray[np.uint8]]], **params: object) -> list[Shot]:
    return list(find_shots(frames, {**PARAMS, **params}))


def test_finds_exactly_the_cuts_that_were_made() -> None:
    lengths = [40, 60, 25, 90]
    found = shots_of(film(lengths))
    starts = np.cumsum([0, *lengths[:-1]])
    assert [shot.first_index for shot in found] == starts.tolist()
    assert [shot.start_s for shot in found] == pytest.approx((starts / 25).tolist())
    assert [shot.end_s for shot in found] == pytest.approx((np.cumsum(lengths) / 25).tolist())


def test_the_key_frame_lies_near_the_middle_of_its_shot_and_shows_its_scene() -> None:
    lengths = [40, 60, 300]
    for number, shot in enumerate(shots_of(film(lengths))):
        assert abs(shot.key.time_s - (shot.start_s + shot.end_s) / 2) < 0.1 * (shot.end_s - shot.start_s)
        step = shot.key.index - shot.first_index
        made = Image.fromarray(np.roll(np.asarray(scene(100 + number)), step, axis=1))
        row = _row(shot, PARAMS)
        whole = _row(Shot(0, 0, 1, Candidate(0, 0, np.asarray(made)[:, :, ::-1])), PARAMS)
        assert hamming(row["phash"], whole["phash"]) <= 6
        assert row["frame"] == shot.key.index and row["keyframe_s"] == shot.key.time_s


def test_a_video_without_cuts_is_one_shot_and_one_of_one_frame_too() -> None:
    (shot,) = shots_of(film([80]))
    assert (shot.start_s, shot.end_s) == (0, pytest.approx(3.2))
    (still,) = shots_of(film([1]))
    assert (still.first_index, still.start_s, still.end_s, still.key.index) == (0, 0, 0, 0)
    assert shots_of(film([])) == []


def test_times_come_from_the_frames_and_not_from_a_frame_rate() -> None:
    slow_then_quick = [
        (index * 0.5 if index < 30 else 15 + (index - 30) * 0.02, picture)
        for index, (_, picture) in enumerate(film([30, 60]))
    ]
    first, second = shots_of(iter(slow_then_quick))
    assert (first.end_s, second.start_s, second.end_s) == (15, 15, pytest.approx(15 + 60 * 0.02))


def test_a_flash_does_not_make_a_shot() -> None:
    frames = list(film([60]))
    frames[30] = (frames[30][0], np.full_like(frames[30][1], 255))
    assert len(shots_of(iter(frames))) <= 2
    assert all(shot.end_s - shot.start_s >= PARAMS["min_shot_s"] for shot in shots_of(iter(frames)))


def test_a_long_shot_holds_a_fixed_number_of_pictures() -> None:
    shot = _OpenShot(0, 0.0)
    picture = np.zeros((1, 1, 3), np.uint8)
    for index in range(10_000):
        shot.add(Candidate(index, index / 25, picture))
        assert len(shot._held) <= CANDIDATES
        assert len(shot._recent) <= 2 * LATENCY + 1
    assert abs(shot.closed(400.0).key.time_s - 200) < 40


def test_frames_after_a_cut_move_to_the_next_shot() -> None:
    shot = _OpenShot(0, 0.0)
    for index in range(10):
        shot.add(Candidate(index, index / 25, np.zeros((1, 1, 3), np.uint8)))
    assert [candidate.index for candidate in shot.take_from(8)] == [8, 9]
    assert shot.closed(100.0).key.index == 7


def test_thumbnail_is_small_and_keeps_its_shape() -> None:
    row = _row(shots_of(film([20], size=(1280, 720)))[0], PARAMS)
    thumbnail = Image.open(io.BytesIO(row["thumbnail"]))
    assert thumbnail.size == (row["thumbnail_width_px"], row["thumbnail_height_px"]) == (256, 144)
    assert len(row["thumbnail"]) <= PARAMS["thumbnail_max_bytes"]
    red = np.zeros((90, 160, 3), np.uint8)
    red[:, :, 2] = 255
    colour = Image.open(io.BytesIO(_row(Shot(0, 0, 1, Candidate(0, 0, red)), PARAMS)["thumbnail"])).getpixel((5, 5))
    assert isinstance(colour, tuple) and colour[0] > 240 and colour[2] < 20


def test_a_change_of_shape_is_a_cut_and_each_shape_has_its_own_cuts() -> None:
    """A phone that is turned while it sends: WebRTC goes from one shape to the other midway."""
    wide, tall, again = film([40, 30]), film([30, 40], size=(240, 320)), film([1])
    pictures = [picture for part in (wide, tall, again) for _, picture in part]
    found = shots_of((index / 25, picture) for index, picture in enumerate(pictures))
    assert [shot.first_index for shot in found] == [0, 40, 70, 100, 140]
    assert [shot.end_s for shot in found] == pytest.approx([1.6, 2.8, 4.0, 5.6, 5.64])
    assert [shot.key.picture.shape[:2] for shot in found] == [(240, 320)] * 2 + [(320, 240)] * 2 + [(240, 320)]
