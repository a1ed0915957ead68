"""A morning in a small city office: three cameras, two microphones and a scanner, one of the cameras flaky."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from connectors.simulated import camera, microphone, scanner
from connectors.simulated.truth import Burst, File, Gap, Page, ShotChange, Truth
from lake.model import ArrivalState, MediaKind

BEGIN_UTC = datetime(2026, 3, 1, 8, tzinfo=UTC)
CLOCK_OFFSETS_S = {"cam-gate": -7.5}
"""Seconds to add to a device's clock to get UTC, as ``conf/devices`` says it too; 0 for the others."""
CAMERAS = ("cam-flaky", "cam-gate", "cam-yard")
_MIN_SEGMENTS = 3


@dataclass
class _Delivery:
    """Writes files and notes what they are."""

    folder: Path
    files: list[File] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    shot_changes: list[ShotChange] = field(default_factory=list)
    bursts: list[Burst] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)

    def send(
        self,
        device_id: str,
        offset_s: float,
        suffix: str,
        data: bytes,
        media_kind: MediaKind,
        duration_s: float | None = None,
        state: ArrivalState = "landed",
        reason: str | None = None,
    ) -> str:
        """Write one file under the time its device believes it is; returns its key."""
        clock = BEGIN_UTC + timedelta(seconds=offset_s)
        key = f"{device_id}/{clock:%Y%m%dT%H%M%SZ}{suffix}"
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        written_at_s = (clock + timedelta(seconds=duration_s or 0)).timestamp()
        os.utime(path, (written_at_s, written_at_s))
        sha256 = hashlib.sha256(data).hexdigest()
        captured_at = utc(device_id, offset_s)
        self.files.append(File(device_id, key, sha256, len(data), media_kind, captured_at, duration_s, state, reason))
        return key


def simulate(folder: Path, seed: int = 7, minutes: float = 2.0, truth_path: Path | None = None) -> Truth:
    """Fill ``folder`` with one subfolder a device; the same arguments give the same bytes on the same machine.

    Args:
        folder: Where the devices write. Must not hold anything yet.
        seed: Of everything that is drawn by lot.
        minutes: How long the devices record; at least half a minute is recorded.
        truth_path: Where the truth is saved as JSON; beside the folder as ``<folder>.truth.json`` when not given.
    """
    segments = max(_MIN_SEGMENTS, round(minutes * 60 / camera.SEGMENT_S))
    delivery = _Delivery(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for index, device_id in enumerate(CAMERAS):
        _record_camera(delivery, device_id, [seed, index], segments, flaky=device_id == "cam-flaky")
    files = max(1, segments * camera.SEGMENT_S // microphone.FILE_S)
    _record_microphone(delivery, "mic-hall", [seed, 10], files, 120.0)
    _record_microphone(delivery, "mic-hotline", [seed, 11], files, 190.0)
    _scan(delivery, seed)
    truth = Truth(
        seed,
        minutes,
        tuple(sorted(delivery.files, key=lambda file: file.key.encode())),
        tuple(delivery.gaps),
        tuple(delivery.shot_changes),
        tuple(delivery.bursts),
        tuple(delivery.pages),
    )
    truth.save(truth_path or folder.with_name(folder.name + ".truth.json"))
    return truth


def utc(device_id: str, offset_s: float) -> datetime:
    """When it really was, so many seconds after a device believed that the day began."""
    return BEGIN_UTC + timedelta(seconds=offset_s + CLOCK_OFFSETS_S.get(device_id, 0.0))


def _record_camera(delivery: _Delivery, device_id: str, seed: list[int], segments: int, flaky: bool) -> None:
    seen = camera.views(seed, segments * camera.SEGMENT_S)
    dropped = segments // 2 if flaky else None

    def record(index: int) -> bytes:
        at_s = index * camera.SEGMENT_S
        return camera.segment(device_id, seen, at_s, BEGIN_UTC + timedelta(seconds=at_s))

    # Encoders give up the interpreter's lock; each runs on one thread, so the bytes do not depend on the cores.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        recorded = list(pool.map(record, range(segments)))
    for index, data in enumerate(recorded):
        at_s = index * camera.SEGMENT_S
        if index == dropped:
            delivery.gaps.append(Gap(device_id, utc(device_id, at_s), utc(device_id, at_s + camera.SEGMENT_S)))
            continue
        key = delivery.send(device_id, at_s, ".mp4", data, "video", camera.SEGMENT_S)
        delivery.shot_changes += [
            ShotChange(key, round(view.start_s - at_s, 1))
            for view in seen
            if 0 < view.start_s - at_s < camera.SEGMENT_S
        ]
    if flaky:
        _send_badly(delivery, device_id, seed, recorded)


def _send_badly(delivery: _Delivery, device_id: str, seed: list[int], recorded: list[bytes]) -> None:
    """One segment twice, then four files that no decoder reads, each at a time of its own."""
    rng = np.random.default_rng([*seed, 5])
    delivery.send(device_id, 0, "_1.mp4", recorded[0], "video", camera.SEGMENT_S, "duplicate", "sent twice")
    wav = microphone.to_wav(microphone.listen(seed, 150.0, tones=False).samples)
    broken: tuple[tuple[str, bytes, MediaKind, str], ...] = (
        (".mp4", recorded[1][: len(recorded[1]) * 6 // 10], "video", "cut off at 60 %"),
        (".mp4", b"", "other", "zero bytes"),
        (".mp4", rng.bytes(20_000), "other", "random bytes"),
        (".wav", wav[: len(wav) * 4 // 10], "audio", "cut off at 40 %"),
    )
    for index, (suffix, data, kind, reason) in enumerate(broken, len(recorded)):
        delivery.send(device_id, index * camera.SEGMENT_S, suffix, data, kind, None, "quarantined", reason)


def _record_microphone(delivery: _Delivery, device_id: str, seed: list[int], files: int, pitch_hz: float) -> None:
    hall = device_id == "mic-hall"
    for index in range(files):
        heard = microphone.listen([*seed, index], pitch_hz, tones=hall)
        suffix, data = (
            (".flac", microphone.to_flac(heard.samples)) if hall else (".wav", microphone.to_wav(heard.samples))
        )
        key = delivery.send(device_id, index * microphone.FILE_S, suffix, data, "audio", microphone.FILE_S)
        delivery.bursts += [Burst(key, *burst) for burst in heard.bursts]


def _scan(delivery: _Delivery, seed: int) -> None:
    for index, document in enumerate(scanner.documents(seed)):
        # A name as people give it: Chinese, a space, a percent sign that the key escapes.
        suffix = f" 扫描件{document.suffix}" if index == 0 else document.suffix
        key = delivery.send("scan-office", 7 * index, suffix, document.data, document.media_kind)
        delivery.pages += [Page(key, page, text) for page, text in enumerate(document.pages, 1)]
