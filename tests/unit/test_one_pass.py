"""Several analyses of one recording: opened once, decoded once, and each with what it has alone."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lake.analysis.registry import ANALYSES
from lake.errors import RecordError, Unsupported
from lake.media import streams
from lake.media.box import BOX_ITEMS
from lake.media.child import FUNCTIONS
from lake.media.decode import audio_blocks, iter_video_frames
from lake.media.one_pass import lingers, together
from lake.media.pace import Pace
from lake.media.readings import Samples
from lake.model import Media
from tests.support.analysis_media import RATE_HZ, avi, mp3, tone, wav

pytestmark = pytest.mark.timeout(60)


def pictures(count: int) -> list[Any]:
    draw = np.random.default_rng(4)
    scenes = [draw.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(3)]
    return [np.roll(scenes[3 * number // count], number, axis=1) for number in range(count)]


@functools.cache
def film() -> bytes:
    """Six seconds of moving noise, and sound."""
    return avi(pictures(150), 25, tone(6.0, 440.0, 0.3, RATE_HZ))


def media(data: bytes, content_type: str = "video/x-msvideo") -> Media:
    return Media("0" * 64, content_type, "video", data=data)


def analyzed(data: bytes, *names: str, content_type: str = "video/x-msvideo", threads: int = 1) -> dict[str, Any]:
    """What the decoding child answers, in this process."""
    analyses = {name: dict(ANALYSES[name].params) for name in names}
    analyze = FUNCTIONS["analyze"]
    assert callable(analyze)
    answer: dict[str, Any] = analyze(
        {
            "analyses": analyses,
            "sha256": "0" * 64,
            "content_type": content_type,
            "media_kind": "video",
            "threads": threads,
            "data": data,
            "path": None,
        }
    )
    return answer


def heard(shared: Media) -> str:
    """How many blocks of sound there are, or why they cannot be read."""
    try:
        return str(len(list(audio_blocks(shared))))
    except RecordError as error:
        return str(error)


class Counts:
    """Containers opened and frames decoded since it was made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import av

        self.opened = 0
        self.frames: dict[str, int] = {}
        open_container, decoded = av.open, streams._Open.decoded

        def opens(*args: Any, **options: Any) -> Any:
            self.opened += args[1:2] == ("r",)
            return open_container(*args, **options)

        def decodes(stream: Any, packet: Any) -> Any:
            before = stream._given
            yield from decoded(stream, packet)
            kind = stream.stream.type
            self.frames[kind] = self.frames.get(kind, 0) + stream._given - before

        monkeypatch.setattr(av, "open", opens)
        monkeypatch.setattr(streams._Open, "decoded", decodes)


def test_a_film_is_opened_and_decoded_once_for_all_its_analyses(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = {name: analyzed(film(), name)[name] for name in ("keyframes", "speech", "loudness")}
    one = Counts(monkeypatch)
    analyzed(film(), "speech")
    heard = one.frames["audio"]
    counts = Counts(monkeypatch)
    found = analyzed(film(), "keyframes", "speech", "loudness")
    assert counts.opened == 1
    assert counts.frames == {"video": 150, "audio": heard}
    assert found == alone
    assert found["keyframes"]["rows"]
    assert found["loudness"]["rows"]


def test_sound_is_decoded_once_for_readers_of_several_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = wav(tone(40.0, 300.0, 0.4, RATE_HZ))
    jobs: dict[str, Callable[[Media], Any]] = {
        str(rate): lambda shared, rate=rate: np.concatenate(list(audio_blocks(shared, rate)))  # type: ignore[misc]
        for rate in (8_000, 16_000, 48_000)
    }
    alone = {name: job(media(sound, "audio/x-wav")) for name, job in jobs.items()}
    counts = Counts(monkeypatch)
    found = together(media(sound, "audio/x-wav"), jobs)
    assert counts.opened == 1
    assert all((found[name] == alone[name]).all() for name in jobs)


def test_key_frames_and_all_frames_of_one_decode() -> None:
    jobs: dict[str, Callable[[Media], Any]] = {
        "all": lambda shared: [time_s for time_s, _ in iter_video_frames(shared)],
        "keys": lambda shared: [time_s for time_s, _ in iter_video_frames(shared, keyframes_only=True)],
        "seconds": lambda shared: [time_s for time_s, _ in iter_video_frames(shared, every_s=1.0)],
    }
    found = together(media(film()), jobs)
    assert found == {name: job(media(film())) for name, job in jobs.items()}
    assert len(found["all"]) == 150 > len(found["keys"]) > 1
    assert len(found["seconds"]) == 6


def test_one_that_fails_or_stops_early_costs_the_others_nothing() -> None:
    def fails(shared: Media) -> str:
        for _ in audio_blocks(shared, 16_000, block_s=0.1):
            return "stopped"
        return "nothing"

    def raises(shared: Media) -> str:
        try:
            next(iter(iter_video_frames(shared)))
            raise Unsupported("not this one")
        except RecordError as error:
            return str(error)

    found = together(
        media(film()),
        {
            "stops": fails,
            "raises": raises,
            "reads nothing": lambda shared: "done",
            "counts": lambda shared: sum(1 for _ in iter_video_frames(shared)),
        },
    )
    assert found == {"stops": "stopped", "raises": "not this one", "reads nothing": "done", "counts": 150}


def test_a_reading_that_fails_in_the_decode_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = {name: analyzed(film(), name)[name] for name in ("keyframes", "speech")}
    take = Samples.take

    def fails(reading: Samples, frame: Any) -> Iterator[Any]:
        if not reading._mono:
            raise ValueError("not these samples")
        yield from take(reading, frame)

    monkeypatch.setattr(Samples, "take", fails)
    failed = {"loudness": {"error_class": "RecordError", "message": "ValueError: not these samples"}}
    assert analyzed(film(), "keyframes", "speech", "loudness") == alone | failed
    assert analyzed(film(), "loudness") == failed


def test_sound_of_several_forms_one_after_the_other_is_read_to_its_end() -> None:
    """MP3 may be put together so; the second of these parts has another rate and another number of channels."""
    mono = mp3(tone(3.0, 300.0, 0.5, 48_000), 48_000)
    stereo = mp3(np.stack([tone(3.0, 500.0, 0.5, 44_100)] * 2), 44_100)
    for sound in (mono + stereo, stereo + mono):
        found = analyzed(sound, "speech", "loudness", content_type="audio/mpeg")
        assert "error_class" not in found["speech"]
        (row,) = found["loudness"]["rows"]
        assert row["end_s"] == pytest.approx(6.0, abs=0.2)


def test_a_reader_that_starts_when_another_has_ended_is_not_taken_for_it() -> None:
    """The number of a thread is given anew at once: taken for its name, the decode waited for ever."""
    sound = wav(tone(0.1, 300.0, 0.4, RATE_HZ))
    jobs: dict[str, Callable[[Media], Any]] = {str(number): lambda shared: "done" for number in range(20)}
    jobs["reads"] = lambda shared: sum(len(block) for block in audio_blocks(shared))
    for _ in range(20):
        assert together(media(sound, "audio/x-wav"), jobs)["reads"] == 1600


def test_one_that_reads_two_streams_in_step_or_in_turn_gets_both() -> None:
    def in_step(shared: Media) -> int:
        return len(list(zip(iter_video_frames(shared), audio_blocks(shared, 16_000, block_s=0.02), strict=False)))

    def in_turn(shared: Media) -> tuple[int, int]:
        return sum(1 for _ in iter_video_frames(shared)), sum(len(block) for block in audio_blocks(shared, 16_000))

    jobs: dict[str, Callable[[Media], Any]] = {"in step": in_step, "in turn": in_turn}
    assert together(media(film()), jobs) == {name: job(media(film())) for name, job in jobs.items()}


@pytest.mark.parametrize("data", [film()[:400], b"RIFF no film", film()[:20_000]], ids=["head", "none", "cut"])
def test_a_damaged_film_says_the_same_to_each_as_alone(data: bytes) -> None:
    names = ("keyframes", "speech", "loudness")
    assert analyzed(data, *names) == {name: analyzed(data, name)[name] for name in names}


def test_the_decode_goes_at_the_pace_of_the_slowest() -> None:
    ahead: list[int] = []
    given = 0
    slow = threading.Event()

    def counts(shared: Media) -> int:
        nonlocal given
        for _ in iter_video_frames(shared):
            given += 1
        slow.set()
        return given

    def waits(shared: Media) -> int:
        for taken, _ in enumerate(iter_video_frames(shared)):
            slow.wait(0.002)
            ahead.append(given - taken)
        return len(ahead)

    assert together(media(film()), {"counts": counts, "waits": waits}) == {"counts": 150, "waits": 150}
    assert max(ahead) <= 2 * BOX_ITEMS + 2


def test_what_is_no_recording_of_the_decode_is_an_error_of_each() -> None:
    def read(shared: Media) -> str:
        with pytest.raises(Unsupported) as told:
            list(audio_blocks(shared))
        return str(told.value)

    found = together(media(b"%PDF", "application/pdf"), {"a": read, "b": read})
    assert found["a"] == found["b"] == "application/pdf is not decoded here"


def test_an_error_of_the_decode_itself_ends_every_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> Iterator[Any]:
        raise MemoryError("no room")
        yield

    monkeypatch.setattr("lake.media.one_pass.read", broken)

    assert together(media(film()), {"a": heard, "b": heard}) == {
        "a": "MemoryError: no room",
        "b": "MemoryError: no room",
    }


@pytest.mark.parametrize("names", [("keyframes",), ("keyframes", "loudness")], ids=len)
def test_a_decode_by_several_threads_gives_the_same(names: tuple[str, ...]) -> None:
    assert analyzed(film(), *names, threads=2) == analyzed(film(), *names)


def test_frames_are_the_same_by_any_number_of_threads() -> None:
    def read(threads: int) -> list[tuple[float, bytes]]:
        frames = iter_video_frames(replace(media(film()), threads=threads))
        return [(time_s, picture.tobytes()) for time_s, picture in frames]

    assert read(1) == read(2) == read(5)


def endless(shared: Media) -> str:
    threading.Event().wait()
    return "never"


def test_a_job_that_does_not_end_is_given_up_and_costs_the_others_nothing() -> None:
    def stops_in_the_middle(shared: Media) -> str:
        for _ in iter_video_frames(shared):
            endless(shared)
        return "never"

    jobs: dict[str, Callable[[Media], Any]] = {
        "never reads": endless,
        "stops": stops_in_the_middle,
        "counts": lambda shared: sum(1 for _ in iter_video_frames(shared)),
        "hears": lambda shared: sum(len(block) for block in audio_blocks(shared)),
    }
    found = together(media(film()), jobs, {"never reads": 1.0, "stops": 1.5, "counts": 30.0})
    assert found == {"counts": 150, "hears": 96_000}
    assert lingers()


def test_a_decode_that_is_not_done_yet_when_its_readers_are_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its child would be ended for nothing."""

    def slow(container: Any, readings: list[Any], threads: int) -> Iterator[Any]:
        for _ in range(3):
            yield readings[0], np.zeros(10, np.float32)
            time.sleep(0.2)

    monkeypatch.setattr("lake.media.one_pass.read", slow)
    before = set(threading.enumerate())
    found = together(media(film()), {"first": lambda shared: len(next(iter(audio_blocks(shared))))}, {"first": 30.0})
    assert found == {"first": 10}
    assert set(threading.enumerate()) <= before


def test_one_that_is_slow_because_others_have_the_core_does_not_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten that compute for half a second each are done after five, on one core: none has stood still for so long."""
    clock = {"wall": 100.0, "process": 20.0, "own": 1.0}
    monkeypatch.setattr("time.monotonic", lambda: clock["wall"])
    monkeypatch.setattr("time.process_time", lambda: clock["process"])
    monkeypatch.setattr("time.thread_time", lambda: clock["own"])
    monkeypatch.setattr("time.clock_gettime", lambda of: clock["own"])
    pace = Pace()
    assert pace.stalled_s() == 0
    pace.mark()
    clock.update(wall=105.0, process=25.0, own=1.5)
    assert pace.stalled_s() == pytest.approx(0.5)
    clock.update(wall=109.0)  # and then nobody does anything
    assert pace.stalled_s() == pytest.approx(4.5)
    with pace.waits():
        assert pace.stalled_s() == 0
    assert pace.stalled_s() == 0


def test_a_decode_that_does_not_end_is_an_error_of_those_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def stuck(container: Any, readings: list[Any], threads: int) -> Iterator[Any]:
        yield readings[0], np.zeros(10, np.float32)
        endless(media(b""))

    monkeypatch.setattr("lake.media.one_pass.read", stuck)

    jobs: dict[str, Callable[[Media], Any]] = {"a": heard, "b": heard, "reads nothing": lambda shared: "done"}
    said = "not decoded further within 1 s: given up"
    assert together(media(film()), jobs, {"a": 0.5, "b": 1.0}) == {"a": said, "b": said, "reads nothing": "done"}


def test_what_one_is_to_make_for_others_fails_when_it_is_given_up() -> None:
    def makes(shared: Media) -> str:
        try:
            return str(shared.shared.once("text", lambda: endless(shared)))
        except RecordError as error:
            return str(error)

    found = together(media(film()), {"a": makes, "b": makes}, {"a": 0.5, "b": 0.5})
    assert list(found.values()) == ["another analysis, which was given up, was to read it"]


def test_a_thread_that_has_ended_stands_nowhere() -> None:
    """To ask for the clock of a thread that has ended took the process down."""
    pace = Pace()
    thread = threading.Thread(target=pace.mark)
    thread.start()
    thread.join()
    assert pace.stalled_s() >= 0
