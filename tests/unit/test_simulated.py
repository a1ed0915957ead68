"""The simulated devices: the same bytes for the same seed, and a truth that the files bear out."""

from __future__ import annotations

import hashlib
import html
import io
import pickle
import re
import zipfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from connectors import connect
from connectors.simulated import Simulated, Truth, camera, microphone, scanner, simulate
from connectors.simulated.generate import BEGIN_UTC
from lake.errors import Unreadable, UsageError
from lake.ingest.attribution import captured_at, device_matcher
from lake.ingest.devices import load_devices
from lake.model import Arrival

CONF = Path(__file__).parents[2] / "conf" / "devices"
MINUTES = 0.5


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    folder = tmp_path_factory.mktemp("simulated") / "devices"
    return folder, simulate(folder, seed=3, minutes=MINUTES)


def arrivals(folder: Path) -> dict[str, Arrival]:
    return {each.key: each for each in connect(str(folder)).discover() if isinstance(each, Arrival)}


def frames(data: bytes) -> np.ndarray:
    av = pytest.importorskip("av")
    with av.open(io.BytesIO(data)) as container:
        return np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])


def test_the_truth_names_every_file_and_its_bytes(made: tuple[Path, Truth]) -> None:
    folder, truth = made
    found = arrivals(folder)
    assert [file.key for file in truth.files] == list(found)
    connector = connect(str(folder))
    for file in truth.files:
        with connector.open(found[file.key]) as opened:
            data = opened.read()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (file.sha256, file.size_bytes)
    assert truth.states() == {"landed": len(truth.files) - 5, "duplicate": 1, "quarantined": 4}
    assert len({file.sha256 for file in truth.files}) == len(truth.files) - 1
    assert {file.media_kind for file in truth.files} == {"audio", "video", "image", "document", "table", "other"}


def test_the_truth_is_saved_beside_the_folder(made: tuple[Path, Truth]) -> None:
    folder, truth = made
    assert Truth.load(folder.with_name("devices.truth.json")) == truth
    assert "truth" not in "".join(arrivals(folder))


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(made: tuple[Path, Truth], tmp_path: Path) -> None:
    _, truth = made
    assert simulate(tmp_path / "again", seed=3, minutes=MINUTES) == truth
    other = simulate(tmp_path / "other", seed=4, minutes=MINUTES)
    assert not {file.sha256 for file in truth.files if file.size_bytes} & {
        file.sha256 for file in other.files if file.size_bytes
    }


def test_the_device_files_know_every_file_and_its_time(made: tuple[Path, Truth]) -> None:
    folder, truth = made
    devices = load_devices(CONF)
    found = arrivals(folder)
    device_of = device_matcher(devices)
    assert set(found) == {file.key for file in truth.files}
    for file in truth.files:
        assert device_of(file.key) == file.device_id
        assert captured_at(devices[file.device_id], file.key) == file.captured_at_utc


def test_the_gap_is_where_no_segment_is(made: tuple[Path, Truth]) -> None:
    _, truth = made
    (gap,) = truth.gaps
    seen = [file for file in truth.files if file.device_id == gap.device_id and file.duration_s]
    assert all(
        file.captured_at_utc + timedelta(seconds=file.duration_s or 0) <= gap.start_utc
        or file.captured_at_utc >= gap.end_utc
        for file in seen
    )
    assert min(file.captured_at_utc for file in seen) < gap.start_utc < max(file.captured_at_utc for file in seen)


def test_the_picture_changes_where_the_truth_says_and_nowhere_else(made: tuple[Path, Truth]) -> None:
    folder, truth = made
    checked = 0
    for file in truth.files:
        if file.media_kind != "video" or file.state != "landed":
            continue
        pictures = frames((folder / file.key).read_bytes()).astype(np.int16)
        assert len(pictures) == camera.SEGMENT_S * camera.FRAME_RATE_HZ
        moved = np.abs(np.diff(pictures[:, 30:], axis=0)).mean(axis=(1, 2))
        jumps = [round((int(index) + 1) / camera.FRAME_RATE_HZ, 1) for index in np.flatnonzero(moved > 25)]
        assert jumps == [change.at_s for change in truth.shot_changes if change.key == file.key]
        assert np.median(moved) > 0.05  # things move between the turns
        checked += len(jumps)
    assert checked


def test_the_clock_is_burnt_in_and_runs() -> None:
    seen = camera.views([1], 10)
    top = [camera.still("cam", seen, 0, BEGIN_UTC + timedelta(seconds=s))[:26].astype(int) for s in (0, 0, 1)]
    assert top[0].max() > 200
    assert (top[0] == top[1]).all()
    assert (top[0] != top[2]).any()


def test_bursts_are_loud_and_the_rest_is_quiet() -> None:
    for seed in range(4):
        heard = microphone.listen([seed], 150.0, tones=True)
        loud = np.zeros(len(heard.samples), bool)
        for start_s, end_s, _ in heard.bursts:
            span = slice(int(start_s * microphone.SAMPLE_RATE_HZ), int(end_s * microphone.SAMPLE_RATE_HZ))
            loud[span] = True
            assert rms_dbfs(heard.samples[span]) > -30
        assert rms_dbfs(heard.samples[~loud]) < -55
        assert {kind for _, _, kind in heard.bursts} == {"voice", "tone"}


def rms_dbfs(samples: np.ndarray) -> float:
    return float(20 * np.log10(np.sqrt(np.mean((samples / 32768.0) ** 2)) + 1e-12))


def test_silero_hears_the_voice_and_not_the_tone() -> None:
    vad = pytest.importorskip("faster_whisper.vad")
    heard = microphone.listen([7, 0], 190.0, tones=True)
    spoken = vad.get_speech_timestamps((heard.samples / 32768).astype(np.float32))
    spans = [(each["start"] / microphone.SAMPLE_RATE_HZ, each["end"] / microphone.SAMPLE_RATE_HZ) for each in spoken]
    voices = [(start_s, end_s) for start_s, end_s, kind in heard.bursts if kind == "voice"]
    assert len(spans) == len(voices) < len(heard.bursts)
    for (start_s, end_s), (true_start_s, true_end_s) in zip(spans, voices, strict=True):
        assert abs(start_s - true_start_s) < 0.7  # Silero pads by 0.4 s
        assert abs(end_s - true_end_s) < 0.9


def test_flac_and_wav_hold_the_same_samples() -> None:
    av = pytest.importorskip("av")
    samples = microphone.listen([1], 150.0, tones=False).samples
    for data in (microphone.to_wav(samples), microphone.to_flac(samples)):
        with av.open(io.BytesIO(data)) as container:
            decoded = np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])
        assert (decoded == samples).all()


def test_pdf_pages_hold_the_text_that_the_truth_says() -> None:
    pdfium = pytest.importorskip("pypdfium2")
    for document in scanner.documents(5):
        if document.suffix == ".pdf":
            with pdfium.PdfDocument(document.data) as pdf:
                texts = [page.get_textpage().get_text_range().replace("\r", "").strip() for page in pdf]
            assert tuple(texts) == document.pages
    assert re.search("[一-鿿]", texts[0]) and re.search("[a-z]", texts[0])


def test_office_files_are_what_they_are_called() -> None:
    for document in scanner.documents(5):
        if document.suffix in {".docx", ".xlsx", ".pptx"}:
            with zipfile.ZipFile(io.BytesIO(document.data)) as parts:
                assert parts.testzip() is None
                everything = html.unescape(b"".join(map(parts.read, parts.namelist())).decode("utf-8", "replace"))
            assert all(line.split(" ")[0] in everything for page in document.pages for line in page.split("\n"))


def test_broken_files_are_broken(made: tuple[Path, Truth]) -> None:
    av = pytest.importorskip("av")
    folder, truth = made
    broken = [file for file in truth.files if file.state == "quarantined"]
    assert {file.reason for file in broken} == {"cut off at 60 %", "zero bytes", "random bytes", "cut off at 40 %"}
    for file in broken:
        if file.key.endswith(".mp4"):
            with (
                pytest.raises(av.error.FFmpegError),
                av.open(io.BytesIO((folder / file.key).read_bytes())) as container,
            ):
                list(container.decode(video=0))


def test_the_connector_makes_once_and_reads_the_same_everywhere(tmp_path: Path) -> None:
    uri = f"simulated://city?seed=3&minutes={MINUTES}&spool="
    here, there = connect(uri + str(tmp_path / "here")), connect(uri + str(tmp_path / "there"))
    assert isinstance(here, Simulated)
    listed = list(here.discover())
    made_at = (tmp_path / "here").stat().st_mtime_ns
    assert list(here.discover()) == listed
    assert (tmp_path / "here").stat().st_mtime_ns == made_at
    assert list(there.discover()) == listed  # another machine: same source, same versions
    arrival = next(each for each in listed if isinstance(each, Arrival) and each.size_bytes)
    with pickle.loads(pickle.dumps(there)).open(arrival) as file:
        there.verify(arrival, len(file.read()))
    assert [each for each in (tmp_path / "here").iterdir() if each.name.startswith(".")] == []
    with pytest.raises(Unreadable, match="is not what the simulation made"):
        there.verify(arrival, arrival.size_bytes - 1)


def test_a_wrong_uri_is_told() -> None:
    with pytest.raises(UsageError, match="unknown 'sed'; known are seed, minutes, spool"):
        connect("simulated://city?sed=1")
    with pytest.raises(UsageError, match="minutes"):
        connect("simulated://city?minutes=soon")
