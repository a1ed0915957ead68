"""What recordings weigh in the plan of an analyze run: sound and film by their duration, others by their size."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from lake.analysis.costs import MOST_WEIGHT, PIXEL_BYTES, SECOND_BYTES
from lake.analysis.plan import Planner, WorkItem
from lake.analysis.registry import ANALYSES
from lake.engine import Engine
from tests.support.analysis_media import RATE_HZ, avi, tone, wav
from tests.support.lakes import new_lake


def flac(duration_s: int) -> bytes:
    """Silence, which takes next to no bytes."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flac") as container:
        stream: Any = container.add_stream("flac", rate=RATE_HZ, layout="mono")
        for _ in range(duration_s):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, RATE_HZ), np.int16), format="s16", layout="mono")
            frame.sample_rate = RATE_HZ
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def test_weights(tmp_path: Path, local_engine: Engine) -> None:
    lake = new_lake(str(tmp_path / "lake"), local_engine)
    (tmp_path / "in").mkdir()
    quick, slow = tone(4.0, 440.0, 0.3, RATE_HZ), tone(4.0, 440.0, 0.3, 48_000)
    files = {
        "quick.wav": wav(quick),
        "slow.wav": wav(slow, 48_000),
        "film.avi": avi([np.full((64, 96, 3), level, np.uint8) for level in range(50)], 25),
        "note.txt": b"one line\n" * 100,
        "silence.flac": flac(600),
        "click.wav": wav(tone(0.02, 440.0, 0.3, RATE_HZ)) + b"junk" + (200_000).to_bytes(4, "little") + bytes(200_000),
    }
    for name, data in files.items():
        (tmp_path / "in" / name).write_bytes(data)
    lake.ingest(tmp_path / "in")
    planner = Planner(lake.job.tables, [ANALYSES[name] for name in ("keyframes", "loudness", "document_text")])
    sizes = {len(data): name for name, data in files.items()}
    work: dict[str, WorkItem] = {sizes[item.ref.size_bytes]: item for item in planner.work()}
    loads = planner.loads()
    planner.close()

    assert work["quick.wav"].load.weight_bytes == pytest.approx(4 * SECOND_BYTES, rel=0.01)
    assert work["slow.wav"].load.weight_bytes == pytest.approx(4 * SECOND_BYTES, rel=0.01)
    assert work["film.avi"].load.weight_bytes == pytest.approx(50 * 64 * 96 * PIXEL_BYTES, rel=0.05)
    assert work["note.txt"].load.weight_bytes == len(files["note.txt"])
    assert work["silence.flac"].load.weight_bytes == MOST_WEIGHT * len(files["silence.flac"]) < 600 * SECOND_BYTES
    assert work["click.wav"].load.weight_bytes == round(len(files["click.wav"]) / MOST_WEIGHT) > 0.02 * SECOND_BYTES
    assert {work[name].group.kind for name in ("quick.wav", "slow.wav")} == {"audio by duration"}
    assert work["film.avi"].group.kind == "video by duration"
    assert work["note.txt"].group.kind == "document by size"
    for group, load in loads.items():
        items = [item for item in work.values() if item.group == group]
        assert load.records == len(items)
        assert load.size_bytes == sum(item.load.size_bytes for item in items)
        assert load.weight_bytes == pytest.approx(sum(item.load.weight_bytes for item in items), abs=len(items))
