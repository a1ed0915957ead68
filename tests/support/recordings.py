"""Small real recordings of every kind, made by seeded code: name to bytes, type, and what must be found out."""

from __future__ import annotations

import functools
import io
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from connectors.simulated.microphone import to_flac
from lake.model import MediaKind
from tests.support import documents
from tests.support.analysis_media import avi, encoded, scene, tone, wav

OFFICE = "application/vnd.openxmlformats-officedocument"


@dataclass(frozen=True)
class Recording:
    """One recording and the truth about it."""

    name: str
    data: bytes
    content_type: str
    media_kind: MediaKind
    facts: dict[str, Any] = field(default_factory=dict)
    """Fields of ``Technical``."""
    cut_is_noticed: bool = True
    """Whether the format says how long it is, so that 60 % of it is known to be damaged."""


def mp4(seconds: float = 1.0, fps: int = 10, codec: str = "h264", form: str = "mp4", width: int = 160) -> bytes:
    """A moving picture in any container of PyAV."""
    import av

    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, 120, "yuv420p"
        for number in range(round(seconds * fps)):
            image = np.asarray(scene(number % 3, width, 120))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode(None))
    return out.getvalue()


def sound(form: str, codec: str, seconds: float = 1.0) -> bytes:
    """A tone in any container of PyAV: 48 kHz, mono."""
    import av

    out = io.BytesIO()
    samples = (tone(seconds, 440, 0.3, 48000) * 32767).astype(np.int16)[None, :]
    with av.open(out, "w", format=form) as container:
        stream = container.add_stream(codec, rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 48000
        resampler = av.AudioResampler(stream.format.name, "mono", 48000, stream.frame_size or 1024)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return out.getvalue()


def parquet() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]}), out)
    return out.getvalue()


def gigapixel_png() -> bytes:
    """A PNG that declares 50,000 × 50,000 pixels and holds next to none of them."""
    import zlib

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1_000_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def zip_bomb_docx(unpacked_bytes: int = 3 * 1024**3) -> bytes:
    """A docx whose directory truthfully says that it unpacks to gigabytes (of zeros)."""
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("[Content_Types].xml", CONTENT_TYPES)
        with archive.open("word/document.xml", "w", force_zip64=True) as part:
            for _ in range(unpacked_bytes // (16 * 1024**2)):
                part.write(bytes(16 * 1024**2))
    return out.getvalue()


def package(content_type: str, archive: bytes) -> bytes:
    """A zip with its type as the first part, stored, as OpenDocument and EPUB demand it."""
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("mimetype", content_type, zipfile.ZIP_STORED)
        for name in source.namelist():
            if name != "mimetype":
                target.writestr(name, source.read(name))
    return out.getvalue()


ODT = "application/vnd.oasis.opendocument.text"
CONTENT_TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    f'<Override PartName="/word/document.xml" ContentType="{OFFICE}.wordprocessingml.document.main+xml"/></Types>'
)

SPEECH = {"duration_s": 1.0, "sample_rate_hz": 16000, "channels": 1}
PICTURE = {"width_px": 320, "height_px": 240}
FILM = {"duration_s": 1.0, "width_px": 160, "height_px": 120, "frame_rate_hz": 10.0}


@functools.cache
def recordings() -> tuple[Recording, ...]:
    """One of each format."""
    speech = tone(1.0, 440, 0.3)
    pages = documents.pdf([["Page one"], ["第二页"]])
    csv = "time,device,value\n" + "".join(f"{n},cam,{n * n}\n" for n in range(40))
    return (
        Recording("a.wav", wav(speech), "audio/x-wav", "audio", {**SPEECH, "codecs": "pcm_s16le", "container": "wav"}),
        Recording("a.flac", to_flac((speech * 32767).astype(np.int16)), "audio/flac", "audio", SPEECH, False),
        Recording("a.mp3", sound("mp3", "mp3"), "audio/mpeg", "audio", {"codecs": "mp3", "channels": 1}, False),
        Recording("a.ogg", sound("ogg", "libopus"), "audio/ogg", "audio", {"codecs": "opus"}, False),
        Recording("a.aac", sound("adts", "aac"), "audio/aac", "audio", {"sample_rate_hz": 48000}, False),
        Recording(
            "a.gsm", bytes([0xD0] + [0] * 32) * 50, "audio/x-gsm", "audio", {**SPEECH, "sample_rate_hz": 8000}, False
        ),
        Recording("a.raw", (speech * 32767).astype("<i2").tobytes(), "audio/L16", "audio", SPEECH, False),
        Recording("a.mp4", mp4(), "video/mp4", "video", {**FILM, "codecs": "h264"}),
        Recording("a.mov", mp4(form="mov"), "video/quicktime", "video", FILM),
        Recording("a.mkv", mp4(form="matroska"), "video/x-matroska", "video", FILM, False),
        Recording("a.webm", mp4(form="webm", codec="libvpx"), "video/webm", "video", FILM, False),
        Recording("a.ts", mp4(form="mpegts"), "video/mp2t", "video", {"width_px": 160, "codecs": "h264"}, False),
        Recording(
            "a.avi",
            avi([np.asarray(scene(n)) for n in range(5)]),
            "video/x-msvideo",
            "video",
            {**PICTURE, "frame_rate_hz": 25.0},
        ),
        Recording("a.jpg", encoded(scene(1), "JPEG"), "image/jpeg", "image", PICTURE),
        Recording("a.png", encoded(scene(1), "PNG"), "image/png", "image", PICTURE),
        Recording("a.gif", encoded(scene(1), "GIF"), "image/gif", "image", PICTURE),
        Recording("a.bmp", encoded(scene(1), "BMP"), "image/bmp", "image", PICTURE, False),
        Recording("a.webp", encoded(scene(1), "WEBP"), "image/webp", "image", PICTURE),
        Recording("a.tif", encoded(scene(1), "TIFF"), "image/tiff", "image", {**PICTURE, "pages": 1}, False),
        Recording("a.pgm", b"P5 40 30 255\n" + bytes(1200), "image/x-portable-graymap", "image", {"width_px": 40}),
        Recording(
            "a.svg",
            b'<svg xmlns="http://www.w3.org/2000/svg" width="30" height="20"/>',
            "image/svg+xml",
            "image",
            {"width_px": 30, "height_px": 20},
            False,
        ),
        Recording("a.pdf", pages, "application/pdf", "document", {"pages": 2}),
        Recording("a.docx", documents.docx(["Hello"]), f"{OFFICE}.wordprocessingml.document", "document"),
        Recording("a.xlsx", documents.xlsx({"One": [[1]]}), f"{OFFICE}.spreadsheetml.sheet", "document", {"pages": 1}),
        Recording(
            "a.pptx",
            documents.pptx([("T", "B", "N")]),
            f"{OFFICE}.presentationml.presentation",
            "document",
            {"pages": 1},
        ),
        Recording("a.odt", package(ODT, documents.odt(["Hello"])), ODT, "document"),
        Recording(
            "a.epub",
            package("application/epub+zip", documents.epub([("One", "Text")])),
            "application/epub+zip",
            "document",
        ),
        Recording("a.rtf", b"{\\rtf1 Hello}", "application/rtf", "document", {}, False),
        Recording("a.html", b"<!DOCTYPE html><html><p>Hello</html>", "text/html", "document", {}, False),
        Recording("a.eml", documents.message("Subject", "Text"), "message/rfc822", "document", {}, False),
        Recording("a.txt", "Ein Text über nichts.\n".encode(), "text/plain", "document", {}, False),
        Recording("b.txt", "第一行文字\n第二行文字\n".encode("gb18030") * 3, "text/plain", "document", {}, False),
        Recording("a.csv", csv.encode(), "text/csv", "table", {"container": "csv"}, False),
        Recording("a.jsonl", b'{"a": 1}\n{"a": 2}\n', "application/x-ndjson", "table", {"container": "jsonl"}, False),
        Recording("a.parquet", parquet(), "application/vnd.apache.parquet", "table", {"container": "parquet"}),
        Recording("a.bin", np.random.default_rng(1).bytes(5000), "application/octet-stream", "other", {}, False),
        Recording("a.zip", documents.zipped({"x": "y"}), "application/zip", "other", {}, False),
    )
