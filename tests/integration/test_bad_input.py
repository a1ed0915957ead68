"""Bad, odd and hostile input: each costs itself only, has its reason, keeps its bytes; everything else lands."""

from __future__ import annotations

import hashlib
import os
import socket
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.ingest import make_plan
from lake.ingest.commit import RunFacts, commit_wave
from lake.ingest.run import land
from lake.model import Arrival
from tests.support import documents
from tests.support.lakes import Lake
from tests.support.recordings import gigapixel_png, recordings, zip_bomb_docx

pytestmark = pytest.mark.timeout(300)

BY_NAME = {recording.name: recording.data for recording in recordings()}


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def encrypted_pdf() -> bytes:
    from reportlab.lib.pdfencrypt import StandardEncryption

    return documents.pdf([["secret"]], encrypt=StandardEncryption("open sesame"))


def test_broken_recordings_are_quarantined_with_their_bytes_kept(local_lake: Lake, tmp_path: Path) -> None:
    bad = {
        "zero.mp4": b"",
        "cut.mp4": BY_NAME["a.mp4"][: len(BY_NAME["a.mp4"]) * 6 // 10],
        "cut.wav": BY_NAME["a.wav"][:1000],
        "cut.jpg": BY_NAME["a.jpg"][: len(BY_NAME["a.jpg"]) // 2],
        "cut.pdf": BY_NAME["a.pdf"][: len(BY_NAME["a.pdf"]) // 2],
        "cut.docx": BY_NAME["a.docx"][: len(BY_NAME["a.docx"]) // 2],
        "noise.mp4": BY_NAME["a.bin"],
        "boast.wav": BY_NAME["a.wav"][:24] + b"\xff" * 8 + BY_NAME["a.wav"][32:],
        "boast.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="99999999999" height="9"></svg>',
        "bomb.docx": zip_bomb_docx(2 * 1024**3),
    }
    good = {"fine.mp4": BY_NAME["a.mp4"], "picture.txt": BY_NAME["a.png"], "locked.pdf": encrypted_pdf()}
    write(tmp_path / "in", bad | good)
    report = local_lake.ingest(tmp_path / "in")
    assert (report["landed"], report["quarantined"], report["pending"]) == (len(good), len(bad), 0)
    reasons = {row["path"]: row for row in local_lake.rows("quarantine")}
    assert set(reasons) == set(bad)
    for name, row in reasons.items():
        assert row["error_class"] == ("LimitExceeded" if name == "bomb.docx" else "Damaged"), row
        assert len(row["message"]) > 10
        assert "\n" not in row["message"]
        assert local_lake.read(row["asset_id"]) == bad[name]
    assets = {row["path"]: row for row in local_lake.rows("assets")}
    assert set(assets) == set(bad | good)
    assert (assets["picture.txt"]["content_type"], assets["picture.txt"]["media_kind"]) == ("image/png", "image")
    analysed = local_lake.analyze("document_text")
    assert analysed["analyses"]["document_text"]["failed"] >= 1
    failed = {r["sha256"]: r for r in local_lake.rows("quarantine") if r["stage"] == "analyze"}
    locked = failed[hashlib.sha256(good["locked.pdf"]).hexdigest()]
    assert (locked["error_class"], locked["analysis"]) == ("Protected", "document_text")


def test_every_kind_lands_under_its_own_type(local_lake: Lake, tmp_path: Path) -> None:
    write(tmp_path / "in", BY_NAME)
    report = local_lake.ingest(tmp_path / "in")
    assert (report["landed"], report["quarantined"]) == (len(BY_NAME), 0)
    assets = {row["path"]: row for row in local_lake.rows("assets")}
    for recording in recordings():
        row = assets[recording.name]
        assert (row["content_type"], row["media_kind"]) == (recording.content_type, recording.media_kind)
        assert local_lake.read(row["sha256"]) == recording.data
        for name, value in recording.facts.items():
            assert row[name] == (pytest.approx(value, abs=0.05) if isinstance(value, float) else value), recording.name


def test_odd_names_come_back_as_they_were(local_lake: Lake, tmp_path: Path) -> None:
    names = [
        "with space.txt",
        "100%.txt",
        "%41.txt",
        "quote'\".txt",
        "new\nline.txt",
        "emoji 🎥.txt",
        "中文/文件.txt",
        "time 12:30:00.txt",
        "back\\slash.txt",
        "-dash.txt",
        "_hidden.txt",
        ".dot.txt",
        "a" * 200 + ".txt",
    ]
    files = {os.fsencode(name): f"content {number}".encode() for number, name in enumerate(names)}
    files[b"latin-\xe9.txt"] = b"bytes that are no UTF-8"
    deep = b"/".join([b"d%03d" % level for level in range(200)]) + b"/end.txt"
    files[deep] = b"200 levels down"
    for name, data in files.items():
        path = os.path.join(os.fsencode(tmp_path / "in"), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(data)
    report = local_lake.ingest(tmp_path / "in")
    assert (report["landed"], report["quarantined"]) == (len(files), 0)
    from connectors.keys import path_to_key

    assets = {row["path"]: row["asset_id"] for row in local_lake.rows("assets")}
    assert assets.keys() == {path_to_key(name) for name in files}
    for name, data in files.items():
        assert local_lake.read(assets[path_to_key(name)]) == data
    assert local_lake.ingest(tmp_path / "in")["arrivals"] == 0


def test_what_is_no_file_is_told_and_never_opened(local_lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write(folder, {"a.txt": b"good", "sub/b.txt": b"good too"})
    write(tmp_path, {"outside.txt": b"not yours"})
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to(folder)
    (folder / "leaves").symlink_to(tmp_path / "outside.txt")
    (folder / "null").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(folder)
        server.bind("socket")
        report = local_lake.ingest(folder)
        os.chdir("/")
    assert report["landed"] == 2
    assert {entry["key"] for entry in report["skipped_entries"]} == {"pipe", "loop", "leaves", "null", "socket"}
    assert {row["path"] for row in local_lake.rows("assets")} == {"a.txt", "sub/b.txt"}


def test_links_are_followed_when_asked_and_loops_end(local_lake: Lake, tmp_path: Path) -> None:
    write(tmp_path / "in", {"a.txt": b"good"})
    write(tmp_path / "elsewhere", {"b.txt": b"linked"})
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    local_lake.ingest(tmp_path / "in", follow_links=True)
    assert {row["path"] for row in local_lake.rows("assets")} == {"a.txt", "linked/b.txt"}


def test_what_changes_or_vanishes_between_listing_and_reading_is_a_row(local_lake: Lake, tmp_path: Path) -> None:
    """Listed first, then changed, then landed; what a listing calls unreadable is never opened."""
    write(tmp_path / "in", {"a.txt": b"good", "changed.txt": b"old", "closed.txt": b"shut", "gone.txt": b"here"})
    plan = make_plan(local_lake.job, str(tmp_path / "in"), None)
    listed = [entry for entry in plan.context.connector.discover() if isinstance(entry, Arrival)]
    wave = [replace(a, problem="no permission") if a.key == "closed.txt" else a for a in listed]
    (tmp_path / "in" / "gone.txt").unlink()
    write(tmp_path / "in", {"changed.txt": b"new and longer"})
    arrivals = commit_wave(plan.tables, land(plan, wave, local_lake.engine), RunFacts("run", datetime.now(UTC)))
    assert sorted(arrivals.column("state").to_pylist()) == ["landed", "quarantined", "quarantined", "quarantined"]
    rows = {row["path"]: row for row in local_lake.rows("quarantine")}
    assert {row["error_class"] for row in rows.values()} == {"Unreadable"}
    assert (rows["gone.txt"]["sha256"], rows["closed.txt"]["sha256"]) == (None, None)
    assert local_lake.read(rows["changed.txt"]["sha256"]) == b"new and longer"
    again = local_lake.ingest(tmp_path / "in")
    assert (again["arrivals"], again["duplicates"]) == (1, 1), "the changed file is a new version of known content"


@pytest.mark.parametrize("name", ["list.avi", "list.mp4", "list.m3u8", "list.ffconcat"])
@pytest.mark.parametrize("form", ["concat", "playlist"])
def test_scripts_of_decoders_are_not_followed(local_lake: Lake, tmp_path: Path, name: str, form: str) -> None:
    write(tmp_path, {"secret.wav": BY_NAME["a.wav"]})
    secret = tmp_path / "secret.wav"
    scripts = {
        "concat": f"ffconcat version 1.0\nfile '{secret}'\n",
        "playlist": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n",
    }
    write(tmp_path / "in", {name: scripts[form].encode()})
    local_lake.ingest(tmp_path / "in")
    (asset,) = local_lake.rows("assets")
    assert (asset["content_type"], asset["duration_s"], asset["codecs"]) == ("text/plain", None, None)
    local_lake.analyze("speech", "loudness", "keyframes")
    for table in ("feature_speech", "feature_loudness", "feature_keyframes"):
        assert local_lake.rows(table) == []


def test_hostile_documents_do_nothing(local_lake: Lake, tmp_path: Path) -> None:
    laughs = '<!DOCTYPE x [<!ENTITY a "haha"><!ENTITY b "' + "&a;" * 1000 + '">]>'
    hostile = {
        "entities.docx": documents.replaced(
            documents.docx(["x"]), {"word/document.xml": f"<?xml version='1.0'?>{laughs}<w>&b;</w>"}
        ),
        "outside.svg": b'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
        "climb.eml": documents.message("s", "t", attachment="../../../../climbed.txt"),
        "macro.docx": documents.replaced(documents.docx(["x"]), {"word/vbaProject.bin": b"\xcc\x61"}),
        "giga.png": gigapixel_png(),
        "nested.zip": documents.zipped({"a.zip": documents.zipped({"b.zip": documents.zipped({"c": "x"})})}),
    }
    write(tmp_path / "in", hostile)
    local_lake.ingest(tmp_path / "in")
    local_lake.analyze()
    assert not list(tmp_path.rglob("climbed.txt"))
    assert not any((above / "climbed.txt").exists() for above in (*tmp_path.parents, Path.cwd(), *Path.cwd().parents))
    assets = {row["path"]: row for row in local_lake.rows("assets")}
    assert "macros" in assets["macro.docx"]["notes"]
    assert assets["nested.zip"]["media_kind"] == "other"
    texts = " ".join(row["text"] or "" for row in local_lake.rows("feature_document_text"))
    assert "hahahaha" not in texts
    assert "root:" not in texts
    failed = {row["sha256"]: row for row in local_lake.rows("quarantine")}
    giga = failed[hashlib.sha256(hostile["giga.png"]).hexdigest()]
    assert (giga["analysis"], giga["error_class"]) == ("image_hash", "LimitExceeded")
    for name, data in hostile.items():
        assert local_lake.read(assets[name]["asset_id"]) == data
