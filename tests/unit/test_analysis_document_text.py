"""Text of documents: what was written comes out, by page; hostile and broken ones end in the right error."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from lake.analysis.document_text import FIELDS, PARAMS, clean, run
from lake.analysis.documents.readers import READERS
from lake.analysis.documents.text import DECLARED, declared_encoding
from lake.errors import Damaged, LimitExceeded, Protected, Unsupported
from lake.model import Media, Row
from tests.support import documents as make
from tests.support.documents import CHINESE, ENGLISH

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
ODT = "application/vnd.oasis.opendocument.text"
BOTH = [ENGLISH, CHINESE]
WORD_NAMES = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def pages(data: bytes, content_type: str, **params: int) -> list[Row]:
    rows = list(run(Media("0" * 64, content_type, "document", data=data), {**PARAMS, **params}))
    assert [row["page"] for row in rows] == list(range(1, len(rows) + 1))
    assert all(set(row) == {"page", *FIELDS.names} for row in rows)
    return rows


def texts(data: bytes, content_type: str, **params: int) -> list[str]:
    return [row["text"] for row in pages(data, content_type, **params)]


def test_pdf_by_page_in_two_scripts() -> None:
    rows = pages(make.pdf([BOTH, [], [CHINESE]]), "application/pdf")
    assert [row["text"].split("\n") for row in rows] == [BOTH, [""], [CHINESE]]
    assert [row["char_count"] for row in rows] == [len(ENGLISH) + 1 + len(CHINESE), 0, len(CHINESE)]
    assert {row["reader"] for row in rows} == {"pypdfium2"}


def test_pdf_from_a_file_is_the_same_as_from_bytes(tmp_path: Path) -> None:
    data = make.pdf([BOTH])
    (tmp_path / "a.pdf").write_bytes(data)
    media = Media("0" * 64, "application/pdf", "document", path=str(tmp_path / "a.pdf"))
    assert list(run(media, PARAMS)) == pages(data, "application/pdf")


def test_docx_with_tables_and_header() -> None:
    (text,) = texts(make.docx(BOTH, ["left cell", "right cell"]), DOCX)
    assert text.split("\n") == [*BOTH, "left cell", "right cell", "header line"]


def test_docx_with_macros_reads_the_same_and_text_boxes_come_once() -> None:
    box = (
        '<w:p xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"><w:r><mc:AlternateContent>'
        "<mc:Choice><w:t>boxed</w:t></mc:Choice><mc:Fallback><w:t>boxed</w:t></mc:Fallback>"
        "</mc:AlternateContent><w:delText>gone</w:delText></w:r></w:p>"
    )
    body = f'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>{box}</w:body></w:document>'
    data = make.replaced(make.docx([]), {"word/document.xml": body, "word/vbaProject.bin": b"\0" * 100})
    (text,) = texts(data, "application/vnd.ms-word.document.macroEnabled.12")
    assert text.split("\n") == ["boxed", "header line"]


def test_xlsx_by_sheet() -> None:
    rows = [["name", "count"], [CHINESE, 3], [None, None], ["half", 2.5], ["day", date(2026, 1, 2)], ["yes", True]]
    found = pages(make.xlsx({"One": rows, "二": [["x"]], "Empty": []}), XLSX)
    assert [row["title"] for row in found] == ["One", "二", "Empty"]
    expected = ["name\tcount", f"{CHINESE}\t3", "half\t2.5", "day\t2026-01-02T00:00:00", "yes\tTrue"]
    assert found[0]["text"].split("\n") == expected
    assert (found[1]["text"], found[2]["text"]) == ("x", "")


def test_pptx_by_slide_with_notes() -> None:
    slides = [("First", ENGLISH, "say hello"), ("第二", CHINESE, "再见")]
    assert [text.split("\n") for text in texts(make.pptx(slides), PPTX)] == [list(slide) for slide in slides]


def test_odt_without_deleted_text() -> None:
    assert texts(make.odt([*BOTH, "a<text:s/><text:tab/>b"]), ODT) == [f"{ENGLISH}\n{CHINESE}\na \tb"]


def test_ods_by_sheet_and_odp_by_slide() -> None:
    cells = "<table:table-row><table:table-cell><text:p>x</text:p></table:table-cell></table:table-row>"
    sheets = f'<table:table table:name="S1">{cells}</table:table><table:table table:name="S2"/>'
    rows = pages(
        make.odf(f"<office:spreadsheet>{sheets}</office:spreadsheet>"), f"{ODT.rpartition('.')[0]}.spreadsheet"
    )
    assert [(row["title"], row["text"]) for row in rows] == [("S1", "x"), ("S2", "")]
    slide = '<draw:page draw:name="p"><text:p>slide</text:p></draw:page>'
    shown = make.odf(f"<office:presentation>{slide}{slide}</office:presentation>")
    assert texts(shown, f"{ODT.rpartition('.')[0]}.presentation") == ["slide", "slide"]


def test_epub_by_chapter_in_reading_order() -> None:
    rows = pages(make.epub([("One", ENGLISH), ("二", CHINESE)]), "application/epub+zip")
    assert [(row["title"], row["text"]) for row in rows] == [("One", ENGLISH), ("二", CHINESE)]


def test_fb2_by_section() -> None:
    sections = f"<section><title><p>一</p></title><p>{CHINESE}</p></section><section><p>{ENGLISH}</p></section>"
    book = f'<?xml version="1.0" encoding="utf-8"?><FictionBook xmlns="http://www.gribuser.ru/xml/fictionbook/2.0"><body>{sections}</body><binary>QUJD</binary></FictionBook>'
    rows = pages(book.encode(), "application/x-fictionbook+xml")
    assert [(row["title"], row["text"]) for row in rows] == [("一", f"一\n{CHINESE}"), (None, ENGLISH)]


def test_rtf() -> None:
    data = rb"{\rtf1\ansi\deff0{\fonttbl{\f0 Arial;}}\f0 The quick brown fox\par \u25935?\u25463? end}"
    (text,) = texts(data, "application/rtf")
    assert "The quick brown fox" in text and "敏捷" in text and "Arial" not in text


def test_html_shows_what_a_reader_sees() -> None:
    data = f"""<html><head><title>A &amp; b</title><script>secret()</script><style>p {{}}</style></head><body>
    <h1>Head</h1><p>{ENGLISH}<br>next   line</p><script>more()</script><!-- no --><ul><li>one<li>two</ul>
    <table><tr><td>a</td><td>b</td></tr></table><p>{CHINESE} <b>bo</b>ld</p></body></html>"""
    (row,) = pages(data.encode(), "text/html; charset=utf-8")
    lines = [line.strip() for line in row["text"].split("\n")]
    assert lines == ["Head", ENGLISH, "next line", "one", "two", "a\tb", f"{CHINESE} bold"]
    assert (row["title"], row["encoding"]) == ("A & b", "utf-8")


def test_html_in_the_encoding_it_declares() -> None:
    data = f'<html><head><meta charset="gb2312"><title>{CHINESE}</title></head><body>{CHINESE}</body>'.encode("gb18030")
    (row,) = pages(data, "text/html")
    assert (row["title"], row["text"], row["encoding"]) == (CHINESE, CHINESE, "gb18030")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030", "big5", "shift_jis", "cp1251"])
def test_plain_text_in_the_encoding_its_bytes_look_like(encoding: str) -> None:
    samples = {
        "shift_jis": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。" * 4,
        "cp1251": "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему. " * 4,
        "big5": "人類社會發展的歷史表明，對一個民族、一個國家來說，最持久的力量是全社會共同認可的價值觀。" * 4,
    }
    text = samples.get(
        encoding, "今天天气很好，我们去公园散步，然后一起吃饭。摄像头在路口记录了经过的车辆。\n" * 4
    ).strip()
    (row,) = pages(text.encode(encoding), "text/plain")
    assert row["text"] == text
    assert row["encoding"] is not None


def test_bytes_of_no_encoding_still_give_text_a_table_can_hold() -> None:
    (row,) = pages(np.random.default_rng(0).bytes(3000), "text/plain")
    row["text"].encode("utf-8")
    assert "\0" not in row["text"]
    assert clean("a\r\nb\rc\0\ud800\n") == "a\nb\nc?"


def test_mail_with_html_and_an_attachment_that_wants_to_be_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    data = make.message(CHINESE, f"{ENGLISH}\n{CHINESE}\n", "<p>html twin</p>", "../../x")
    (row,) = pages(data, "message/rfc822")
    lines = row["text"].split("\n")
    assert f"Subject: {CHINESE}" in lines and "From: Ann <ann@example.org>" in lines
    assert ENGLISH in lines and CHINESE in lines and "html twin" not in lines
    assert lines[-1] == "Attachment: ../../x"
    assert [path for path, _, files in os.walk(tmp_path) if files] == []
    assert row["title"] == CHINESE


def test_mail_in_old_encodings_and_mbox_by_message() -> None:
    first = make.message("one", f"{CHINESE}\n", charset="gb2312")
    second = make.message("two", f"{ENGLISH}\n")
    rows = pages(b"From a Mon\n" + first + b"\nFrom b Tue\n" + second, "application/mbox")
    assert [row["title"] for row in rows] == ["one", "two"]
    assert rows[0]["text"].endswith(CHINESE) and rows[0]["encoding"] == "gb18030"


def test_encrypted_documents_are_protected() -> None:
    from reportlab.lib.pdfencrypt import StandardEncryption

    locked = make.pdf([BOTH], encrypt=StandardEncryption("secret", strength=40))
    ole = make.OLE_MAGIC + b"\0" * 1000 + "EncryptedPackage".encode("utf-16-le") + b"\0" * 1000
    manifest = (
        '<m:manifest xmlns:m="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"><m:encryption-data/></m:manifest>'
    )
    inner = b"--b\nContent-Type: application/octet-stream\n\nzz\n--b--\n"
    mail = b"Subject: x\nContent-Type: multipart/encrypted; boundary=b\n\n" + inner
    for data, content_type in (
        (locked, "application/pdf"),
        (ole, DOCX),
        (ole, XLSX),
        (ole, "application/x-ole-storage"),
        (ole, "application/msword"),
        (make.odf("<office:text/>", manifest), ODT),
        (mail, "message/rfc822"),
    ):
        with pytest.raises(Protected, match="encrypted"):
            pages(data, content_type)


def test_an_owner_password_alone_does_not_hide_the_text() -> None:
    from reportlab.lib.pdfencrypt import StandardEncryption

    data = make.pdf([BOTH], encrypt=StandardEncryption("", ownerPassword="secret", strength=40))
    assert texts(data, "application/pdf") == ["\n".join(BOTH)]


@pytest.mark.parametrize("content_type", sorted(READERS))
@pytest.mark.parametrize("size", [0, 3, 4000])
def test_random_bytes_give_an_error_of_the_lake_or_text(content_type: str, size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    try:
        pages(data, content_type)
    except (Damaged, Unsupported) as error:
        assert "\n" not in str(error) and len(str(error)) < 300
    else:
        assert content_type.startswith("text/") or READERS[content_type].name in ("text", "html (lxml)")


WHOLE: Mapping[str, Callable[[], bytes]] = {
    "application/pdf": lambda: make.pdf([BOTH] * 3),
    DOCX: lambda: make.docx(BOTH),
    XLSX: lambda: make.xlsx({"A": [["x"] * 5] * 20}),
    PPTX: lambda: make.pptx([("a", "b", "c")]),
    ODT: lambda: make.odt(BOTH),
    "application/epub+zip": lambda: make.epub([("a", ENGLISH)]),
}


@pytest.mark.parametrize("content_type", sorted(WHOLE))
def test_truncated_documents_are_damaged(content_type: str) -> None:
    data = WHOLE[content_type]()
    for share in (0.1, 0.5, 0.95):
        cut = data[: int(len(data) * share)]
        try:
            rows = pages(cut, content_type)
        except Damaged:
            continue
        # PDF readers rebuild a lost cross-reference table: then the pages that are still whole come out.
        assert content_type == "application/pdf" and share == 0.95 and rows[0]["text"] == "\n".join(BOTH)


@pytest.mark.parametrize("content_type", sorted(WHOLE))
def test_flipped_bytes_give_text_or_an_error_of_the_lake(content_type: str) -> None:
    rng = np.random.default_rng(7)
    whole = WHOLE[content_type]()
    for _ in range(15):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 20):
            data[place] ^= int(rng.integers(1, 256))
        try:
            pages(bytes(data), content_type)
        except (Damaged, Protected, LimitExceeded, Unsupported):
            continue


def test_a_document_that_unpacks_to_much_is_refused_before_it_is_inflated() -> None:
    bomb = make.replaced(make.docx(BOTH), {"word/document.xml": b" " * (PARAMS["max_part_bytes"] + 1)})
    assert len(bomb) < 300_000
    with pytest.raises(LimitExceeded, match=r"word/document\.xml unpacks to"):
        pages(bomb, DOCX)
    many = make.zipped({f"{number}.xml": b" " * 1000 for number in range(20)})
    for content_type in (DOCX, XLSX, PPTX, ODT, "application/epub+zip"):
        with pytest.raises(LimitExceeded, match="unpacks to 20,000 bytes"):
            pages(many, content_type, max_unpacked_bytes=10_000)


def test_limits_on_text_pages_and_whole_documents() -> None:
    with pytest.raises(LimitExceeded, match="characters"):
        pages(make.xlsx({"A": [["x" * 100]] * 100}), XLSX, max_text_chars=1000)
    with pytest.raises(LimitExceeded, match="pages"):
        pages(make.pdf([BOTH] * 3), "application/pdf", max_pages=2)
    with pytest.raises(LimitExceeded, match="read whole"):
        pages(b"x" * 2000, "text/plain", max_part_bytes=1000)


ENTITIES = (
    """<!DOCTYPE x [<!ENTITY file SYSTEM "file://{path}"><!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>"""
)


def test_entities_are_not_expanded(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("TOPSECRET")
    doctype = ENTITIES.format(path=tmp_path / "secret")
    word = f"{doctype}<w:document {WORD_NAMES}><w:p><w:t>seen &file;&b;</w:t></w:p></w:document>"
    (text,) = texts(make.replaced(make.docx([]), {"word/document.xml": word}), DOCX)
    assert "TOPSECRET" not in text and "aaaa" not in text and "seen" in text
    book = f"{doctype}<FictionBook><body><section><p>seen &file;&b;</p></section></body></FictionBook>"
    (text,) = texts(book.encode(), "application/x-fictionbook+xml")
    assert "TOPSECRET" not in text and "aaaa" not in text and "seen" in text
    strings = (
        f'{doctype}<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><si><t>&file;</t></si></sst>'
    )
    with pytest.raises(Damaged, match="declares a document type"):
        pages(make.replaced(make.xlsx({"A": [["x"]]}), {"xl/sharedStrings.xml": strings}), XLSX)


def test_deep_nesting_does_not_bring_the_reader_down() -> None:
    deep = b"<div>" * 20_000 + b"bottom" + b"</div>" * 20_000
    with contextlib.suppress(Damaged):
        pages(deep, "text/html")
    nested = b"<FictionBook><body>" + b"<p>" * 20_000 + b"</p>" * 20_000 + b"</body></FictionBook>"
    with pytest.raises(Damaged):
        pages(nested, "application/x-fictionbook+xml")
    mail = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(3000))
    with contextlib.suppress(Damaged):
        pages(b"Subject: x\n" + mail, "message/rfc822")


@pytest.mark.timeout(30)
def test_no_declaration_is_looked_at_for_ever() -> None:
    for declared in (b"charset=utf-8", b'charset = "utf-8"', b"charset=' utf-8'"):
        assert declared_encoding(b"<meta " + declared + b">") == "utf-8"
    assert DECLARED.search(b"<meta charset=" + b" " * 200_000 + b"!") is None


def test_types_without_a_reader_are_unsupported_by_name() -> None:
    with pytest.raises(Unsupported, match="application/x-mspublisher"):
        pages(make.OLE_MAGIC + b"\0" * 2000, "application/x-mspublisher")
    with pytest.raises(Unsupported, match="Word 95"):
        pages(b"\xdb\xa5" + b"\0" * 2000, "application/msword")
