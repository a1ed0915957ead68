"""E-mail: headers a person reads, the text, and the names of attachments, which are written nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import policy
from email.message import EmailMessage, Message
from email.parser import BytesParser

from lake.analysis.documents.base import Page, Source
from lake.analysis.documents.text import decoded, html_page, known_encoding
from lake.errors import Damaged, Protected
from lake.media.foreign import decoding

SHOWN_HEADERS = ("From", "To", "Cc", "Date", "Subject")
ENCRYPTED_TYPES = frozenset(("multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"))
MBOX_START = re.compile(rb"^From [^\r\n]*\r?\n", re.M)
HAS_HEADER = re.compile(rb"^[!-9;-~]+[ \t]*:", re.M)


def read_message(source: Source) -> Iterator[Page]:
    """One message: one page."""
    page = message_page(source.whole())
    if page is None:
        raise Protected("the message is encrypted, and it has no other text")
    yield page


def read_mbox(source: Source) -> Iterator[Page]:
    """A message each; None for one that is encrypted."""
    data = source.whole()
    starts = [found.end() for found in MBOX_START.finditer(data)]
    if not starts:
        yield from read_message(source)
        return
    ends = [*(found.start() for found in MBOX_START.finditer(data)), len(data)][1:]
    for start, end in zip(starts, ends, strict=True):
        yield message_page(data[start:end]) or Page(None)


def message_page(data: bytes) -> Page | None:
    """Text of one message, None when all of it is encrypted."""
    if not HAS_HEADER.search(data[:65_536]):
        raise Damaged("the message has no header")
    with decoding("the message"):
        message = BytesParser(EmailMessage, policy=policy.compat32.clone(linesep="\n")).parsebytes(data)
        lines = [f"{name}: {value}" for name in SHOWN_HEADERS if (value := _header(message, name))]
        bodies, attachments, encrypted = _parts(message)
    if encrypted and not any(body.text for body in bodies):
        return None
    texts = ["\n".join(lines), *(body.text or "" for body in bodies)]
    if attachments:
        texts.append("\n".join(f"Attachment: {name}" for name in attachments))
    encoding = next((body.encoding for body in bodies if body.encoding), None)
    return Page("\n\n".join(text.strip() for text in texts if text.strip()), _header(message, "Subject"), encoding)


def _parts(message: Message) -> tuple[list[Page], list[str], bool]:
    """Bodies, names of attachments, and whether a part is encrypted. Of alternatives the plain text is taken."""
    bodies: list[Page] = []
    attachments: list[str] = []
    encrypted = False
    waiting: list[Message] = [message]
    while waiting:
        part = waiting.pop()
        content_type = part.get_content_type()
        name = part.get_filename()
        encrypted = encrypted or content_type in ENCRYPTED_TYPES
        if part.is_multipart():
            children = [child for child in part.get_payload() if isinstance(child, Message)]
            if content_type == "multipart/alternative":
                plain = [child for child in children if child.get_content_type() == "text/plain"]
                children = plain or children[-1:]
            waiting.extend(reversed(children))
        elif name or part.get_content_disposition() == "attachment":
            attachments.append(" ".join(_shown(name or "(no name)").split()))
        elif content_type in ("text/plain", "text/html"):
            bodies.append(_body(part, content_type))
    return bodies, attachments, encrypted


def _body(part: Message, content_type: str) -> Page:
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else str(payload or "").encode("utf-8", "replace")
    charset = part.get_content_charset()
    declared = known_encoding(charset) if charset else None
    if content_type == "text/html":
        return html_page(data, declared)
    text, encoding = decoded(data, declared)
    return Page(text, encoding=encoding)


def _header(message: Message, name: str) -> str | None:
    value = message.get(name)
    return " ".join(_shown(str(value)).split()) if value is not None else None


def _shown(value: str) -> str:
    """A header with its encoded words decoded."""
    from email.errors import HeaderParseError
    from email.header import decode_header, make_header

    try:
        return str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, UnicodeError, ValueError):
        return value
