"""Pictures of the report: stored thumbnails, and previews drawn from the bytes by the decoding child.

What is shown is a fixed sample: taken from every device in turn, by hash, so that two reports of one lake are alike.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from lake.catalog.report_tables import Snapshot
from lake.errors import LakeError
from lake.media.sandbox import Call, Sandbox
from lake.model import BlobRef, Row
from lake.store.blobs import stored_blobs
from lake.store.reader import read_blob

if TYPE_CHECKING:
    from lake.store.objects import ObjectStore

MAX_KEYFRAMES = 48
MAX_IMAGES = 24
MAX_WAVEFORMS = 12
MAX_PAGES = 12
MAX_SPANS = 200
"""Spans of speech shaded in one waveform."""
MAX_THUMBNAIL_BYTES = 64 * 1024
MAX_PREVIEW_BYTES = 256 * 1024
MAX_BLOB_BYTES = 64 * 1024 * 1024
MAX_READ_BYTES = 256 * 1024 * 1024
"""Bytes read for the previews of one section."""
MAX_SOUND_S = 1200.0
"""Longer recordings are not drawn: decoding one takes longer than the rest of the page."""
BUCKETS = 300
PREVIEW_LIMIT_S = 10.0


@dataclass(frozen=True)
class Picture:
    """One picture of a recording (a key frame, an image, a page) as a data URI."""

    row: Row
    uri: str


@dataclass(frozen=True)
class Sound:
    """The outline of one recording of sound and the speech in it."""

    row: Row
    seconds: float
    outline: str
    """Points of an SVG polygon, x of 0 to ``BUCKETS``, y of -100 to 100."""
    spans: list[tuple[float, float]] = field(default_factory=list)
    """Speech, as (x, width) in the outline's units."""


@dataclass(frozen=True)
class Gallery:
    """The pictures of one section and how many recordings it could have shown."""

    shown: Sequence[Any]
    total: int

    @property
    def more(self) -> int:
        return max(0, self.total - len(self.shown))


NOTHING = Gallery((), 0)


def keyframes(snapshot: Snapshot, sample: Snapshot) -> Gallery:
    """Key frames of shots with their times, by device."""
    return _thumbnails(
        snapshot, sample, "feature_keyframes", ("frame", "start_s", "end_s", "keyframe_s"), MAX_KEYFRAMES
    )


def images(snapshot: Snapshot, sample: Snapshot) -> Gallery:
    """Still images, by device."""
    return _thumbnails(snapshot, sample, "feature_image_hash", ("width_px", "height_px"), MAX_IMAGES)


def _thumbnails(snapshot: Snapshot, sample: Snapshot, feature: str, fields: tuple[str, ...], most: int) -> Gallery:
    piece = [name for name in fields if name == "frame"]
    key = ", ".join(["sha256", *piece])
    values = ", ".join(f"any_value({name}) AS {name}" for name in fields if name not in piece)
    query = f"""WITH f AS (SELECT {key}, {values} FROM {feature} WHERE thumbnail_width_px IS NOT NULL GROUP BY {key}),
      a AS (SELECT sha256, arg_min(path, asset_id) AS path, arg_min(coalesce(device_id, ''), asset_id) AS device,
          min(captured_at_utc) AS captured_at_utc FROM assets WHERE sha256 IN (SELECT sha256 FROM f) GROUP BY sha256),
      ranked AS (SELECT *, row_number() OVER (PARTITION BY device ORDER BY hash(({key},)), {key}) AS place
        FROM f JOIN a USING (sha256))
      SELECT * FROM (SELECT * FROM ranked ORDER BY place, device LIMIT $most)
      ORDER BY device = '', device, captured_at_utc, path, {key}"""  # noqa: S608
    rows = sample.rows(query, most=most)
    total = snapshot.count(f"(SELECT DISTINCT {key} FROM {feature} WHERE thumbnail_width_px IS NOT NULL)")  # noqa: S608
    found = _stored(sample.dataset(feature), rows, piece)
    wanted = [(row, found.get((row["sha256"], *(row[name] for name in piece)))) for row in rows]
    return Gallery([Picture(row, uri) for row, uri in wanted if uri], total)


def _stored(dataset: ds.Dataset, rows: Sequence[Row], piece: Sequence[str]) -> dict[tuple[Any, ...], str]:
    """Data URIs of the chosen rows' thumbnails, read in small batches."""
    keys = {(row["sha256"], *(row[name] for name in piece)) for row in rows}
    found: dict[tuple[Any, ...], str] = {}
    scanner = dataset.scanner(
        columns=["sha256", *piece, "thumbnail"],
        filter=pc.field("sha256").isin(pa.array(sorted({key[0] for key in keys}), pa.string())),
        batch_size=512,
        batch_readahead=1,
        fragment_readahead=1,
    )
    for batch in scanner.to_batches():
        for row in batch.to_pylist():
            key = (row["sha256"], *(row[name] for name in piece))
            uri = image_uri(row["thumbnail"], MAX_THUMBNAIL_BYTES)
            if key in keys and uri:
                found[key] = uri
    return found


def image_uri(data: bytes | None, most: int) -> str | None:
    """A data URI of a JPEG or PNG by its first bytes; None for anything else or too much of it."""
    if not isinstance(data, bytes) or len(data) > most:
        return None
    for magic, content_type in ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n", "image/png")):
        if data.startswith(magic):
            return f"data:{content_type};base64,{base64.b64encode(data).decode('ascii')}"
    return None


def waveforms(snapshot: Snapshot, store: ObjectStore, sandbox: Sandbox) -> Gallery:
    """Outlines of sound recordings, those with speech first."""
    speech = "feature_speech" in snapshot.names
    spoken = "SELECT DISTINCT sha256 FROM feature_speech WHERE start_s IS NOT NULL" if speech else "SELECT '' AS sha256"
    where = "media_kind = 'audio' AND coalesce(duration_s, 0) <= $longest"
    rows = _chosen(snapshot, where, spoken, MAX_WAVEFORMS, longest=MAX_SOUND_S)
    spans = _spans(snapshot, [row["sha256"] for row in rows]) if speech and rows else {}
    drawn = []
    for row, value in _previews(snapshot, store, sandbox, "waveform", rows):
        sound = _sound(row, value, spans.get(row["sha256"], []))
        drawn += [sound] if sound else []
    return Gallery(drawn, snapshot.count("(SELECT DISTINCT sha256 FROM assets WHERE media_kind = 'audio')"))


def first_pages(snapshot: Snapshot, store: ObjectStore, sandbox: Sandbox) -> Gallery:
    """First pages of PDFs."""
    where = "content_type = 'application/pdf'"
    rows = _chosen(snapshot, where, "SELECT '' AS sha256", MAX_PAGES)
    drawn = []
    for row, value in _previews(snapshot, store, sandbox, "first_page", rows):
        uri = image_uri(value.get("image") if isinstance(value, dict) else None, MAX_PREVIEW_BYTES)
        drawn += [Picture(row, uri)] if uri else []
    return Gallery(drawn, snapshot.count(f"(SELECT DISTINCT sha256 FROM assets WHERE {where})"))  # noqa: S608


def _chosen(snapshot: Snapshot, where: str, first: str, most: int, **parameters: Any) -> list[Row]:
    """Distinct contents from every device in turn; those that ``first`` names come before the others."""
    query = f"""WITH a AS (SELECT sha256, arg_min(path, asset_id) AS path, min(size_bytes) AS size_bytes,
          arg_min(coalesce(device_id, ''), asset_id) AS device, min(captured_at_utc) AS captured_at_utc,
          any_value(content_type) AS content_type, any_value(duration_s) AS duration_s, any_value(pages) AS pages
        FROM assets WHERE {where} AND size_bytes <= {MAX_BLOB_BYTES} AND container IS NOT NULL GROUP BY sha256),
      ranked AS (SELECT a.*, f.sha256 IS NOT NULL AS named, row_number() OVER (
          PARTITION BY device ORDER BY f.sha256 IS NULL, hash(a.sha256), a.sha256) AS place
        FROM a LEFT JOIN ({first}) f ON f.sha256 = a.sha256)
      SELECT * FROM (SELECT * FROM ranked ORDER BY NOT named, place, device LIMIT $most)
      ORDER BY device = '', device, captured_at_utc, path"""  # noqa: S608
    return snapshot.rows(query, most=most, **parameters)


def _previews(
    snapshot: Snapshot, store: ObjectStore, sandbox: Sandbox, function: str, rows: Sequence[Row]
) -> Iterator[tuple[Row, Any]]:
    """What the child made of each recording; one that cannot be read or drawn is left out."""
    by_id = {row["sha256"]: row for row in rows}
    calls = _calls(store, _refs(snapshot, list(by_id)), function)
    for outcome in sandbox.map(calls):
        if outcome.failure is None:
            yield by_id[outcome.id], outcome.value


def _refs(snapshot: Snapshot, sha256s: Sequence[str]) -> list[BlobRef]:
    found = stored_blobs(snapshot.dataset("blobs"), sha256s)
    return [found[sha256].ref for sha256 in sha256s if sha256 in found]


def _calls(store: ObjectStore, refs: Sequence[BlobRef], function: str) -> Iterator[Call]:
    left_bytes = MAX_READ_BYTES
    for ref in refs:
        if ref.size_bytes > min(MAX_BLOB_BYTES, left_bytes):
            continue
        try:
            data = read_blob(store, ref)
        except LakeError as error:
            if error.retryable:
                return  # The store is away: the page is made of what there is, without waiting for each time-out.
            continue
        left_bytes -= ref.size_bytes
        args = {"sha256": ref.sha256, "content_type": ref.content_type, "data": data, "buckets": BUCKETS}
        yield Call(ref.sha256, function, args, PREVIEW_LIMIT_S)


def _spans(snapshot: Snapshot, sha256s: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    query = """SELECT sha256, start_s, end_s FROM (SELECT DISTINCT sha256, start_s, end_s,
          dense_rank() OVER (PARTITION BY sha256 ORDER BY start_s) AS place FROM feature_speech
        WHERE start_s IS NOT NULL AND sha256 IN (SELECT unnest($wanted)))
        WHERE place <= $most ORDER BY sha256, start_s"""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in snapshot.rows(query, wanted=list(sha256s), most=MAX_SPANS):
        found.setdefault(row["sha256"], []).append((row["start_s"], row["end_s"]))
    return found


def _sound(row: Row, value: Any, spans: Sequence[tuple[float, float]]) -> Sound | None:
    """A sound from what the child said, which is not trusted: numbers of the right size or nothing."""
    try:
        low, high, seconds = list(map(int, value["low"])), list(map(int, value["high"])), float(value["duration_s"])
    except (KeyError, TypeError, ValueError):
        return None
    if not low or len(low) != len(high) or len(low) > BUCKETS or not 0 < seconds < 1e6:
        return None
    step = BUCKETS / len(low)
    upper = [(i, -max(2, min(100, v))) for i, v in enumerate(high)]
    lower = [(i, -min(-2, max(-100, v))) for i, v in enumerate(low)]
    points = [f"{(i + 0.5) * step:g},{y}" for i, y in (*upper, *reversed(lower))]
    per_s = BUCKETS / seconds
    shaded = [(start * per_s, max(1.0, (end - start) * per_s)) for start, end in spans if start < seconds]
    return Sound(row, seconds, " ".join(points), shaded)
