"""Loudness: the levels that were made, seams, silence, and agreement with ffmpeg's own meter."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from lake.analysis.loudness import SAMPLE_RATE_HZ, Meter, loudness_rows
from tests.support.analysis_media import blocks, tone


def full_tone(duration_s: float, dbfs: float, frequency_hz: float = 997) -> NDArray[np.float32]:
    return tone(duration_s, frequency_hz, 10 ** (dbfs / 20), SAMPLE_RATE_HZ)


def stereo(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack([samples, samples])


@pytest.fixture(scope="module")
def concert() -> NDArray[np.float32]:
    """27.53 s in stereo: a tone, soft noise, swelling noise, digital silence."""
    rng = np.random.default_rng(0)
    swell = 0.3 * rng.standard_normal(7 * SAMPLE_RATE_HZ) * np.hanning(7 * SAMPLE_RATE_HZ)
    parts = [
        full_tone(8, -12),
        0.02 * rng.standard_normal(7 * SAMPLE_RATE_HZ),
        swell,
        np.zeros(round(5.53 * SAMPLE_RATE_HZ)),
    ]
    left = np.clip(np.concatenate(parts), -1, 1)
    return np.stack([left, 0.5 * np.roll(left, 3000)]).astype(np.float32)


@pytest.mark.parametrize("dbfs", [-23.0, -33.0])
def test_a_stereo_tone_reads_its_own_level_in_lufs(dbfs: float) -> None:
    """EBU Tech 3341, cases 1 and 2: a 1 kHz stereo sine at x dBFS measures x LUFS within 0.1."""
    (row,) = loudness_rows([stereo(full_tone(20, dbfs, 1000))], 60)
    for field in ("integrated_lufs", "recording_lufs", "momentary_max_lufs", "short_term_max_lufs"):
        assert row[field] == pytest.approx(dbfs, abs=0.1), field
    assert row["peak_dbfs"] == pytest.approx(dbfs, abs=0.01)
    assert row["rms_dbfs"] == pytest.approx(dbfs - 3.01, abs=0.01)


def test_gates_leave_out_what_is_far_below() -> None:
    """EBU Tech 3341, case 3: 10 s at -36, 60 s at -23, 10 s at -36 dBFS measure -23 LUFS."""
    samples = np.concatenate([full_tone(10, -36, 1000), full_tone(60, -23, 1000), full_tone(10, -36, 1000)])
    rows = list(loudness_rows(blocks(stereo(samples), 480_000), 10))
    assert rows[0]["recording_lufs"] == pytest.approx(-23.0, abs=0.1)
    assert rows[0]["integrated_lufs"] == pytest.approx(-36.0, abs=0.1)


def test_spans_find_the_bursts_that_were_made() -> None:
    bursts = np.concatenate([full_tone(1, -40), full_tone(1, -10), full_tone(1, -40), full_tone(0.5, -20)])
    rows = list(loudness_rows([bursts], 1))
    assert [round(row["peak_dbfs"]) for row in rows] == [-40, -10, -40, -20]
    assert [round(row["rms_dbfs"] + 3.01) for row in rows] == [-40, -10, -40, -20]
    assert [(row["start_s"], row["end_s"]) for row in rows] == [(0, 1), (1, 2), (2, 3), (3, 3.5)]


@pytest.mark.parametrize("size", [4799, 4800, 100_003])
def test_the_cut_into_blocks_changes_nothing(concert: NDArray[np.float32], size: int) -> None:
    whole, cut = list(loudness_rows([concert], 10)), list(loudness_rows(blocks(concert, size), 10))
    assert len(whole) == len(cut) == 3
    for one, other in zip(whole, cut, strict=True):
        assert one == pytest.approx(other, nan_ok=False)
    assert whole[-1]["end_s"] == pytest.approx(27.53)


def test_rows_touch_and_a_rest_below_100_ms_counts() -> None:
    samples = np.concatenate([np.zeros(SAMPLE_RATE_HZ, np.float32), np.full(100, 0.5, np.float32)])
    rows = list(loudness_rows([samples], 1))
    assert [one["end_s"] for one, _ in pairwise(rows)] == [two["start_s"] for _, two in pairwise(rows)]
    assert rows[1]["peak_dbfs"] == pytest.approx(-6.02, abs=0.01)
    assert rows[1]["rms_dbfs"] == pytest.approx(-6.02, abs=0.01)


def test_digital_silence_is_null_and_nothing_gives_no_row() -> None:
    (row,) = loudness_rows([np.zeros((2, 5 * SAMPLE_RATE_HZ), np.float32)], 10)
    assert [row[name] for name in row if name.endswith(("dbfs", "lufs"))] == [None] * 6
    assert list(loudness_rows([], 10)) == []
    after_sound = list(loudness_rows([np.concatenate([full_tone(1, -3), np.zeros(2 * SAMPLE_RATE_HZ)])], 1))
    assert after_sound[2]["momentary_max_lufs"] is None


def test_surround_counts_the_rear_more_and_the_low_frequency_channel_not() -> None:
    def alone(channel: int) -> float:
        samples = np.zeros((6, 5 * SAMPLE_RATE_HZ), np.float32)
        samples[channel] = full_tone(5, -20, 1000)
        return float(next(loudness_rows([samples], 10))["recording_lufs"] or 0)

    assert alone(4) - alone(0) == pytest.approx(1.5, abs=0.02)
    silent = np.zeros((6, 5 * SAMPLE_RATE_HZ), np.float32)
    silent[3] = full_tone(5, -20, 1000)
    assert next(loudness_rows([silent], 10))["recording_lufs"] is None


def test_memory_held_does_not_depend_on_the_block_count() -> None:
    meter = Meter()
    for _ in range(50):
        meter.add(np.zeros((2, 4801), np.float32))
    assert meter._rest is not None and meter._rest.shape[1] < 4800


def test_agrees_with_the_meter_of_ffmpeg(concert: NDArray[np.float32]) -> None:
    """ffmpeg's ebur128 filter, in the FFmpeg that PyAV carries."""
    values = ffmpeg_r128(concert)
    rows = list(loudness_rows([concert], 1000))
    assert rows[0]["recording_lufs"] == pytest.approx(values["I"][-1], abs=0.05)
    assert rows[0]["momentary_max_lufs"] == pytest.approx(max(values["M"]), abs=0.02)
    assert rows[0]["short_term_max_lufs"] == pytest.approx(max(values["S"][29:]), abs=0.02)


def ffmpeg_r128(samples: NDArray[np.float32]) -> dict[str, list[float]]:
    import av

    graph = av.filter.Graph()
    time_base = Fraction(1, SAMPLE_RATE_HZ)
    source = graph.add_abuffer(format="fltp", sample_rate=SAMPLE_RATE_HZ, layout="stereo", time_base=time_base)
    meter, sink = graph.add("ebur128", "metadata=1"), graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    values: dict[str, list[float]] = {"M": [], "S": [], "I": []}
    for index, block in enumerate(blocks(samples, 4800)):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, index * 4800
        graph.push(frame)
        try:
            metadata = graph.pull().metadata
        except av.BlockingIOError:
            continue
        for name, found in values.items():
            found.append(float(metadata[f"lavfi.r128.{name}"]))
    return values
