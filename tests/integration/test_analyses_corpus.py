"""The analyses on real recordings: the subset in every run, the whole corpus in tests marked ``full``."""

from __future__ import annotations

import random
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from lake.analysis.registry import ANALYSES
from lake.errors import LimitExceeded, Protected, RecordError, Unsupported
from lake.model import Media, MediaKind, Row
from tests.bench import process
from tests.bench.place import ingest, new_job
from tests.support.corpus import Corpus

OFFICE = "application/vnd.openxmlformats-officedocument"
TYPES: dict[str, tuple[MediaKind, str]] = {
    "pdf": ("document", "application/pdf"),
    "docx": ("document", f"{OFFICE}.wordprocessingml.document"),
    "xlsx": ("document", f"{OFFICE}.spreadsheetml.sheet"),
    "pptx": ("document", f"{OFFICE}.presentationml.presentation"),
    "odt": ("document", "application/vnd.oasis.opendocument.text"),
    "rtf": ("document", "application/rtf"),
    "html": ("document", "text/html"),
    "epub": ("document", "application/epub+zip"),
    "fb2": ("document", "application/x-fictionbook+xml"),
    "mbox": ("document", "application/mbox"),
    "doc": ("document", "application/msword"),
    "xls": ("document", "application/vnd.ms-excel"),
    "ppt": ("document", "application/vnd.ms-powerpoint"),
    "msg": ("document", "application/vnd.ms-outlook"),
    "png": ("image", "image/png"),
    "gif": ("image", "image/gif"),
    "jpg": ("image", "image/jpeg"),
    "tif": ("image", "image/tiff"),
    "pgm": ("image", "image/x-portable-graymap"),
    "wav": ("audio", "audio/x-wav"),
    "ogg": ("audio", "audio/ogg"),
    "flac": ("audio", "audio/flac"),
    "mp3": ("audio", "audio/mpeg"),
    "avi": ("video", "video/x-msvideo"),
    "mp4": ("video", "video/mp4"),
}
OF_KIND = {
    "document": ("document_text",),
    "image": ("image_hash",),
    "audio": ("speech", "loudness"),
    "video": ("keyframes",),
}
MOSTLY_READ = {"ppt": 0.7, "doc": 0.75, "mbox": 0.85}
"""Share that must be read without an error where the corpus holds many files made to break readers; others 0.9."""
BROKEN_ON_PURPOSE = "damaged_jpeg"
"""Folder of the corpus whose files are all damaged."""


def found(corpus: Corpus, name: str) -> Path:
    return next(path for path in sorted(corpus.paths()) if path.name == name)


def analysed(analysis: str, path: Path) -> list[Row]:
    kind, content_type = TYPES[path.suffix[1:].lower()]
    found_rows = list(ANALYSES[analysis].run(Media("", content_type, kind, path=str(path)), ANALYSES[analysis].params))
    names = {*ANALYSES[analysis].piece, *ANALYSES[analysis].fields.names}
    assert all(set(row) == names for row in found_rows)
    return found_rows


def check_sample(corpus: Corpus, suffix: str) -> int:
    """Analyse a sample of the files with a suffix and return how many they are."""
    kind, _ = TYPES[suffix]
    folder = corpus.folder / kind
    paths = sorted(
        path
        for path in corpus.paths()
        if path.suffix == f".{suffix}" and path.is_relative_to(folder) and path.parent.name != BROKEN_ON_PURPOSE
    )
    sample = random.Random(suffix).sample(paths, min(len(paths), 4 if kind == "video" else 25))
    wrong: list[str] = []
    for path in sample:
        for analysis in OF_KIND[kind]:
            try:
                analysed(analysis, path)
            except (Protected, LimitExceeded):
                continue
            except RecordError as error:
                assert "\n" not in str(error)
                wrong.append(f"{path.name}: {error}")
    assert len(wrong) <= (1 - MOSTLY_READ.get(suffix, 0.9)) * len(sample) + 1, wrong
    return len(sample)


def test_a_sample_of_what_the_subset_has_gives_rows_or_an_error_of_the_lake(corpus: Corpus) -> None:
    counts = {suffix: check_sample(corpus, suffix) for suffix in sorted(TYPES)}
    assert {TYPES[suffix][0] for suffix, count in counts.items() if count} == set(OF_KIND)


@pytest.mark.full
@pytest.mark.parametrize("suffix", sorted(TYPES))
def test_a_sample_of_every_type_gives_rows_or_an_error_of_the_lake(whole_corpus: Corpus, suffix: str) -> None:
    assert check_sample(whole_corpus, suffix) > 0


@pytest.mark.full
def test_chinese_text_of_a_real_pdf_and_of_its_html_is_the_same_language(whole_corpus: Corpus) -> None:
    text = "".join(row["text"] for row in analysed("document_text", found(whole_corpus, "install.zh_CN.pdf")))
    assert sum("\u4e00" <= char <= "\u9fff" for char in text) > 50_000
    assert "安装" in text and "\ufffd" not in text


@pytest.mark.full
def test_each_pdf_has_its_text_or_its_name_in_the_quarantine(tmp_path: Path, whole_corpus: Corpus) -> None:
    """What crashed a native reader and with it a whole job elsewhere costs itself at most."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number, path in enumerate(path for path in sorted(whole_corpus.paths()) if path.suffix == ".pdf"):
        shutil.copyfile(path, folder / f"{number:04}.pdf")
    job = new_job(str(tmp_path / "lake"))
    ingest(job.settings.root, folder)
    process.run("jobs.cli", "--root", job.settings.root, "analyze", "document_text", "--json")
    table = ANALYSES["document_text"].table
    rows = {name: job.tables.dataset(name).to_table().to_pylist() for name in ("assets", table, "quarantine")}
    landed, read, failed = ({row["sha256"] for row in found} for found in rows.values())
    assert len(landed) > 60
    assert read | failed == landed
    assert {row["error_class"] for row in rows["quarantine"]} <= {"Protected"}


@pytest.mark.full
def test_encrypted_and_too_old_documents_say_so(whole_corpus: Corpus) -> None:
    for name in ("PasswordProtected.doc", "Password_Protected-hello.ppt"):
        with pytest.raises(Protected, match="password"):
            analysed("document_text", found(whole_corpus, name))
    with pytest.raises(Unsupported, match="Word 95"):
        analysed("document_text", found(whole_corpus, "Word6.doc"))


@pytest.mark.full
def test_people_walking_are_one_shot_and_a_trailer_is_several(whole_corpus: Corpus) -> None:
    (shot,) = analysed("keyframes", found(whole_corpus, "vtest.avi"))
    assert shot["start_s"] == 0 and shot["end_s"] == pytest.approx(79.5, abs=0.2)
    assert shot["thumbnail"][:3] == b"\xff\xd8\xff"
    shots = analysed("keyframes", found(whole_corpus, "Megamind.avi"))
    assert len(shots) == 4
    assert all(one["end_s"] == two["start_s"] for one, two in pairwise(shots))


@pytest.mark.full
def test_telephone_prompts_are_mostly_speech(whole_corpus: Corpus) -> None:
    folders = ("asterisk-en-wav", "asterisk-fr-wav")
    prompts = [path for path in sorted(whole_corpus.paths()) if path.parent.name in folders and path.suffix == ".wav"]
    sample = random.Random(5).sample(prompts, 30)
    spoken = sum(bool(analysed("speech", path)) for path in sample)
    assert spoken >= 0.8 * len(sample)
