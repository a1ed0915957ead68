"""Part ``films``: one long film decoded by one core and by two, beside a bare loop, and its key frames alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np

from lake.analysis.registry import ANALYSES
from lake.media.decode import iter_video_frames
from lake.media.limits import Limits
from lake.media.sandbox import Call, Sandbox
from lake.model import Media
from tests.bench.isolation import request
from tests.bench.place import SEED, Place
from tests.bench.report import Figure, Section, table
from tests.support.analysis_media import voice, wav

FILM_S, RATE_HZ, KEY_EVERY_S = 180, 25, 2
WIDTH_PX, HEIGHT_PX = 640, 360
SOUND_RATE_HZ = 16_000
SOUND_S = 1800
CONTENT_TYPE, SOUND_TYPE = "video/x-matroska", "audio/x-wav"
SHOT_S = 6
HEARD = ("speech", "loudness")
ANALYZED = (("keyframes",), ("keyframes", *HEARD))
TEXT = f"""One film of {FILM_S // 60} minutes ({WIDTH_PX} x {HEIGHT_PX}, H.264, a key frame each {KEY_EVERY_S} s, a shot
each {SHOT_S} s, with sound), which stands for one of thirty: a decode and its analyses take ten times as long then; and
a sound of {SOUND_S // 60} minutes. By two cores is what the runner gives a recording that is dearer than all others;
the results are compared before a time is looked at. The bare loop is PyAV alone on one thread, each frame as an array.
Medians of {{repeats}}."""


def measure(place: Place) -> Section:
    section = Section("films", "Long films", TEXT.format(repeats=place.repeats))
    data = film(place.scratch / "film.mkv").read_bytes()
    rows: list[tuple[Any, ...]] = []
    for names in ANALYZED:
        one_s, two_s = _by_cores(place, data, (CONTENT_TYPE, "video"), names)
        said = " + ".join(names)
        rows += [
            (f"{said}, one core", one_s, FILM_S * RATE_HZ / one_s),
            (f"{said}, two", two_s, FILM_S * RATE_HZ / two_s),
        ]
        section.figures.append(Figure(f"{said}: rate by two cores over one", one_s / two_s, at_least=1.7))
    one_s, two_s = _by_cores(place, sound(), (SOUND_TYPE, "audio"), HEARD)
    said = f"{' + '.join(HEARD)} of a sound"
    rows += [(f"{said}, one core", one_s, ""), (f"{said}, two", two_s, "")]
    section.figures.append(Figure(f"{said}: rate by two cores over one", one_s / two_s))
    seconds = _decoded(place, data)
    rows += [(name, each, FILM_S * RATE_HZ / each) for name, each in seconds.items()]
    section.tables.append(table(("what", "s", "frames of the film a second"), rows))
    section.figures += [
        Figure("frames: rate over a bare loop's, one core", seconds["bare loop"] / seconds["all frames"], at_least=0.7),
        Figure(
            "key frames only: rate over that of all frames", seconds["all frames"] / seconds["key frames"], at_least=5
        ),
    ]
    return section


def film(path: Path) -> Path:
    """Write the film, drawn by the seed: in each shot a blurred picture moves, and somebody seems to speak."""
    import cv2

    draw = np.random.default_rng(SEED)
    with av.open(str(path), "w") as container:
        options = {"preset": "veryfast", "g": str(KEY_EVERY_S * RATE_HZ), "threads": "2"}
        pictures: Any = container.add_stream("h264", rate=RATE_HZ, options=options)
        pictures.thread_type = "FRAME"  # else each picture is of two slices, which cameras do not make
        pictures.width, pictures.height, pictures.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        sound: Any = container.add_stream("pcm_s16le", rate=SOUND_RATE_HZ, layout="mono")
        for shot in range(FILM_S // SHOT_S):
            ground = cv2.GaussianBlur(draw.integers(0, 255, (HEIGHT_PX, WIDTH_PX, 3), np.uint8), (0, 0), 4)
            for frame in range(SHOT_S * RATE_HZ):
                grain = draw.integers(0, 6, (HEIGHT_PX, WIDTH_PX, 1), np.uint8)
                picture = np.roll(ground, (frame, 2 * frame), (0, 1)) // 8 * 7 + grain
                container.mux(pictures.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
            samples = (voice(SHOT_S, 100.0 + shot, seed=shot)[None] * 32767).astype(np.int16)
            heard = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            heard.sample_rate, heard.pts = SOUND_RATE_HZ, shot * SHOT_S * SOUND_RATE_HZ
            container.mux(sound.encode(heard))
        for stream in (pictures, sound):
            container.mux(stream.encode(None))
    return path


def sound() -> bytes:
    """Somebody who seems to speak for half an hour, in minutes that differ."""
    return wav(np.concatenate([voice(60, 100.0 + minute, seed=minute) for minute in range(SOUND_S // 60)]))


def _by_cores(place: Place, data: bytes, kind: tuple[str, str], names: tuple[str, ...]) -> tuple[float, float]:
    """Median seconds by one core and by two, in a child as the runner has it."""
    analyses = {name: dict(ANALYSES[name].params) for name in names}
    seconds: dict[int, list[float]] = {1: [], 2: []}
    found: dict[int, Any] = {}
    with Sandbox(Limits()) as of_one, Sandbox(Limits()) as of_two:
        with _one_core():
            of_one.start()
        for _ in range(1 + place.repeats):
            for cores, taken in seconds.items():
                args = request(analyses, {}, kind, data, cores)
                started = time.perf_counter()
                (outcome,) = (of_one if cores == 1 else of_two).map([Call("long", "analyze", args, 900.0)])
                taken.append(time.perf_counter() - started)
                assert outcome.failure is None, outcome.failure
                found[cores] = outcome.value
            assert found[1] == found[2], "two cores find something else"
            assert all(found[1][name]["rows"] for name in names)
    return median(seconds[1][1:]), median(seconds[2][1:])


@contextmanager
def _one_core() -> Iterator[None]:
    """What is started meanwhile has one core: analyses are threads, and would take both."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _decoded(place: Place, data: bytes) -> dict[str, float]:
    """Median seconds of each way to decode, all on one thread of this process."""
    media = Media("0" * 64, CONTENT_TYPE, "video", data=data)
    path = place.scratch / "film.mkv"
    ways: dict[str, Callable[[], list[float]]] = {
        "bare loop": lambda: _bare(path),
        "all frames": lambda: [time_s for time_s, _ in iter_video_frames(media)],
        "key frames": lambda: [time_s for time_s, _ in iter_video_frames(media, keyframes_only=True)],
    }
    times = {name: way() for name, way in ways.items()}
    assert times["bare loop"] == times["all frames"]
    assert len(times["all frames"]) == FILM_S * RATE_HZ
    assert FILM_S // KEY_EVERY_S <= len(times["key frames"]) <= FILM_S // KEY_EVERY_S + FILM_S // SHOT_S
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(place.repeats):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    return {name: median(each) for name, each in seconds.items()}


def _bare(path: Path) -> list[float]:
    times = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            frame.to_ndarray(format="bgr24")
            times.append(frame.time or 0.0)
    return times
