"""What a content is, by its bytes. A name decides only where a format has no mark of its own, never against them."""

from __future__ import annotations

import array
import codecs
import io
import itertools
import json
import re
import sys
from pathlib import Path
from typing import BinaryIO

from lake.media.containers import inside_ole, inside_zip
from lake.media.signatures import EMPTY_ZIP, OLE, ZIP, by_signature
from lake.model import MediaKind, Sniffed

UNKNOWN = Sniffed("application/octet-stream", "other")
EMPTY = Sniffed("application/x-empty", "other")
TEXT = Sniffed("text/plain", "document")

GSM_FRAME_BYTES = 33

BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

CLAIMS: dict[str, MediaKind] = {
    **dict.fromkeys((".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".ts", ".mpg", ".mpeg", ".flv", ".wmv"), "video"),
    **dict.fromkeys((".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".aiff", ".amr", ".wma"), "audio"),
    **dict.fromkeys((".jpg", ".jpeg", ".png", ".gif", ".tif", ".tiff", ".bmp", ".webp", ".heic", ".avif"), "image"),
    **dict.fromkeys((".pdf", ".docx", ".xlsx", ".pptx", ".odt", ".doc", ".xls", ".ppt", ".epub", ".msg"), "document"),
    ".parquet": "table",
}
"""What names promise, for formats that are known by their content."""


def sniff(
    head: bytes, *, size_bytes: int, name: str = "", data: bytes | None = None, path: Path | None = None
) -> Sniffed:
    """Content type and media kind of a recording; never raises.

    ``head`` is the first 64 KiB at least, ``data`` or ``path`` the whole, needed for the directories of containers.
    """
    if size_bytes == 0:
        return EMPTY
    if head.startswith((ZIP, EMPTY_ZIP)):
        with _whole(data, path, head) as stream:
            return inside_zip(stream, head)
    if head.startswith(OLE):
        with _whole(data, path, head) as stream:
            return inside_ole(stream)
    return by_signature(head) or _text(head, size_bytes, name.lower()) or _headerless(head, size_bytes, name.lower())


def claimed_but_absent(name: str, sniffed: Sniffed) -> str | None:
    """Why a content that is nothing known is damaged: its name promises a format that is known by its content."""
    promised = CLAIMS.get(Path(name.lower()).suffix)
    if promised is None or sniffed != UNKNOWN:
        return None
    article = "an" if promised[0] in "aeiou" else "a"
    return f"named {Path(name).suffix}, but the content is not {article} {promised} nor anything else known"


def _whole(data: bytes | None, path: Path | None, head: bytes) -> BinaryIO:
    return path.open("rb") if path is not None else io.BytesIO(head if data is None else data)


def _text(head: bytes, size_bytes: int, name: str) -> Sniffed | None:
    text = _decoded(head, size_bytes)
    if text is None:
        return None
    start = text[:4096].lstrip()
    lower = start[:2048].lower()
    if lower.startswith(("<!doctype html", "<html", "<head")) or _HTML_BEHIND_COMMENTS.match(lower):
        return Sniffed("text/html", "document")
    if lower.startswith("<?xml") or lower.startswith(("<!doctype", "<svg")):
        return _xml(lower)
    if re.match(r"<(?:title|body|meta|h1|table|div|p|center|script|style)\b", lower) and "</" in lower:
        return Sniffed("text/html", "document")
    if re.match(r"From \S.*\d{4}", start):
        return Sniffed("application/mbox", "document")
    if _is_mail(start):
        return Sniffed("message/rfc822", "document")
    return _table(text, size_bytes <= len(head), name) or TEXT


def _decoded(head: bytes, size_bytes: int) -> str | None:
    """The head as text, or None: UTF-8, UTF-16 with its mark, or bytes of 8 bits without control characters."""
    for bom, encoding in zip(BOMS, ("utf-8", "utf-16-le", "utf-16-be"), strict=True):
        if head.startswith(bom):
            return head[len(bom) :].decode(encoding, "replace")
    if b"\0" in head or _CONTROL.search(head):
        return None
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(head, final=size_bytes <= len(head))
    except UnicodeDecodeError:
        # 8-bit text is mostly ASCII or mostly not (Chinese, Cyrillic); what tells it from noise is no control byte.
        return head.decode("latin-1") if len(head) >= 16 or head.isascii() else None


_CONTROL = re.compile(rb"[\x01-\x07\x0e-\x1a\x1c-\x1f\x7f]")
_HTML_BEHIND_COMMENTS = re.compile(r"(?:<!--(?:(?!-->).)*-->\s*)+<(?:!doctype )?html", re.S)
"""A comment ends at its first ``-->`` only: with several ends to try, a few comments would take for ever."""


def _xml(lower: str) -> Sniffed:
    root = re.search(r"<(?:\w+:)?(fictionbook|svg|html)\b", lower)
    match root.group(1) if root else None:
        case "fictionbook":
            return Sniffed("application/x-fictionbook+xml", "document")
        case "svg":
            return Sniffed("image/svg+xml", "image")
        case "html":
            return Sniffed("text/html", "document")
    return Sniffed("text/xml", "document")


_MAIL_FIELDS = frozenset(
    [
        "received",
        "return-path",
        "from",
        "to",
        "cc",
        "bcc",
        "subject",
        "date",
        "message-id",
        "mime-version",
        "delivered-to",
        "reply-to",
        "sender",
        "content-type",
        "content-transfer-encoding",
        "x-mailer",
        "in-reply-to",
        "references",
        "thread-topic",
        "thread-index",
        "x-mozilla-status",
        "x-mozilla-status2",
        "x-mozilla-keys",
        "x-originating-ip",
        "importance",
        "x-priority",
        "user-agent",
        "dkim-signature",
        "x-ms-tnef-correlator",
        "x-ms-has-attach",
        "accept-language",
        "content-language",
        "envelope-to",
        "x-spam-status",
        "errors-to",
    ]
)


def _is_mail(start: str) -> bool:
    """Whether text begins with header fields, at least two of which only mail has (RFC 5322, 2.2)."""
    known, sure = 0, False
    for number, line in enumerate(start.split("\n")):
        if number and line[:1] in (" ", "\t"):
            continue
        field, colon, _ = line.partition(":")
        if not colon or not re.fullmatch(r"[!-9;-~]+", field):
            break
        known += field.lower() in _MAIL_FIELDS or field.lower().startswith(("x-kmail", "autocrypt"))
        sure = sure or (field.lower() == "content-type" and "multipart/" in line.lower())
    return known >= 2 or sure


def _table(text: str, whole: bool, name: str) -> Sniffed | None:
    """JSON, JSON lines, or lines with the same number of the same separator."""
    if text.lstrip()[:1] in ("{", "["):
        return _json(text, whole, name)
    lines = text.splitlines()[: 200 if whole else -1][:200]
    lines = [line for line in lines if line.strip()]
    named = name.endswith((".csv", ".tsv"))
    if len(lines) < (1 if named else 3):
        return None
    for separator in ("\t", ",", ";"):
        counts = {_separators(line, separator) for line in lines}
        least = 1 if named else 2
        if min(counts) >= least and (len(counts) == 1 or (named and len(counts) <= 3)):
            return Sniffed("text/tab-separated-values" if separator == "\t" else "text/csv", "table")
    return Sniffed("text/csv", "table") if named else None


def _separators(line: str, separator: str) -> int:
    """How often a separator stands outside of quotes."""
    return re.sub(r'"(?:[^"]|"")*"', "", line).count(separator)


def _json(text: str, whole: bool, name: str) -> Sniffed | None:
    lines = [line for line in text.splitlines() if line.strip()]
    complete = lines if whole else lines[:-1]
    if (
        complete
        and all(_is_object(line) for line in complete[:50])
        and (len(complete) > 1 or name.endswith((".jsonl", ".ndjson")))
    ):
        return Sniffed("application/x-ndjson", "table")
    if not whole or len(text) > 1_000_000:
        return Sniffed("application/json", "document") if name.endswith(".json") else None
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    return Sniffed("application/json", "document")


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _headerless(head: bytes, size_bytes: int, name: str) -> Sniffed:
    """Sound without a header: the name proposes, the bytes must agree."""
    suffix = Path(name).suffix
    if (
        suffix == ".gsm"
        and size_bytes % GSM_FRAME_BYTES == 0
        and all(head[at] >> 4 == 0xD for at in range(0, len(head), GSM_FRAME_BYTES))
    ):
        return Sniffed("audio/x-gsm", "audio")
    if suffix in (".raw", ".pcm", ".sln", ".l16", ".s16") and _is_smooth(head, size_bytes):
        return Sniffed("audio/L16", "audio")
    if suffix == ".g722":
        return Sniffed("audio/G722", "audio") if len(set(head)) > 16 else UNKNOWN
    return UNKNOWN


def _is_smooth(head: bytes, size_bytes: int) -> bool:
    """Whether 16-bit samples lie close to the ones before, as sound does and other data does not."""
    if size_bytes % 2 or len(head) < 320:
        return False
    samples = array.array("h", head[: len(head) // 2 * 2])
    if sys.byteorder == "big":
        samples.byteswap()
    power = sum(s * s for s in samples)
    steps = sum((b - a) ** 2 for a, b in itertools.pairwise(samples))
    return power > 0 and steps < power
