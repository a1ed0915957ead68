"""Memory stays flat: with the size of a recording and with the number of recordings (DESIGN, invariant 8)."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.bench.place import ingest, new_job
from tests.support.minio import MinioServer

pytestmark = pytest.mark.timeout(900)

MIB = 1024**2
LARGE_MIB, HUGE_MIB = 300, 3 * 1024
GROWTH_BYTES = 150 * MIB
"""What a recording of any size may add: buffers of reading, hashing and uploading, whatever their number is."""
SHARE, SLACK_BYTES = 1.15, 12 * MIB
"""What ten times as many recordings may add; the slack is the noise of sampling a small total."""


def sparse_wav(folder: Path, size_mib: int) -> Path:
    """An hour and more of silence that takes no disk: a real header before a hole."""
    folder.mkdir()
    sound_bytes = size_mib * MIB
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", sound_bytes + 36, b"WAVE", b"fmt ", 16, 1, 2, 48_000, 192_000, 4, 16)
    path = folder / "long.wav"
    with path.open("wb") as out:
        out.write(head + struct.pack("<4sI", b"data", sound_bytes))
        out.truncate(44 + sound_bytes)
    return folder


def landed(root: str, source: Path | str, count: int, environ: dict[str, str] | None = None) -> int:
    """Land a source in a process of its own and return the peak of all its processes together."""
    done = ingest(root, source, environ=environ, sampled=True)
    assert done.document["arrivals"] == count
    assert done.peak_bytes > 50 * MIB, "the sampler saw no process"
    return done.peak_bytes


def growth_in_a_folder(tmp_path: Path, size_mib: int) -> int:
    peaks = []
    for name, size in (("small", 1), ("large", size_mib)):
        job = new_job(str(tmp_path / f"lake-{name}"))
        peaks.append(landed(job.settings.root, sparse_wav(tmp_path / name, size), 1))
        (asset,) = job.tables.dataset("assets").to_table().to_pylist()
        assert (asset["size_bytes"], asset["content_type"]) == (size * MIB + 44, "audio/x-wav")
        assert asset["duration_s"] == pytest.approx(size * MIB / 192_000)
    return peaks[1] - peaks[0]


def test_a_large_recording(tmp_path: Path) -> None:
    assert growth_in_a_folder(tmp_path, LARGE_MIB) < GROWTH_BYTES


@pytest.mark.full
def test_a_recording_of_3_gb(tmp_path: Path) -> None:
    assert growth_in_a_folder(tmp_path, HUGE_MIB) < GROWTH_BYTES


@pytest.mark.parametrize("size_mib", [LARGE_MIB, pytest.param(HUGE_MIB, marks=pytest.mark.full)])
def test_from_a_bucket_into_a_bucket(
    tmp_path: Path, minio: MinioServer, bucket: str, monkeypatch: pytest.MonkeyPatch, size_mib: int
) -> None:
    from lake.settings import load_settings
    from lake.store.objects import open_store

    environ = minio.environ()
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    store = open_store(f"s3://{bucket}", load_settings(f"s3://{bucket}").s3)
    peaks = []
    for name, size in (("small", 1), ("large", size_mib)):
        folder = sparse_wav(tmp_path / name, size)
        store.put(f"{name}/long.wav", folder / "long.wav")
        root = f"s3://{bucket}/lake-{name}"
        new_job(root)
        peaks.append(landed(root, f"s3://{bucket}/{name}", 1, environ))
    assert peaks[1] - peaks[0] < GROWTH_BYTES


def test_ten_times_as_many_recordings(tmp_path: Path) -> None:
    peaks = []
    for count in (400, 4000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            (folder / f"{number:04}.txt").write_text(f"note {number} " * (number % 40 + 1))
        peaks.append(landed(new_job(str(tmp_path / f"lake-{count}")).settings.root, folder, count))
    assert peaks[1] < peaks[0] * SHARE + SLACK_BYTES
