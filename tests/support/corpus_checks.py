"""What must hold of a lake that real recordings were landed in; the tests use it on the subset, the bench on all."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from connectors.keys import key_to_path
from lake.model import BlobRef
from lake.store.blobs import REF_COLUMNS
from lake.store.reader import scan
from lake.tables import Tables
from tests.support.corpus import Corpus
from tests.support.opens import Opens

Report = dict[str, Any]
Ingest = Callable[[Path], Report]
"""Runs ``lake ingest`` on a folder and returns its document."""
NEW_FILES_SHARE = 0.01


def rows(tables: Tables, name: str, *columns: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tables.dataset(name).to_table(columns=list(columns) or None).to_pylist()
    return found


def check_counts(tables: Tables, corpus: Corpus, report: Report) -> None:
    """Nothing is lost: each file is an arrival with one end, each content one blob, each file one asset."""
    ended = sum(report[state] for state in ("landed", "duplicates", "quarantined"))
    assert report["arrivals"] == ended == len(corpus.manifest), report
    assert report["pending"] == report["skipped"] == 0, report
    states = Counter(row["state"] for row in rows(tables, "arrivals", "state"))
    assert (
        states
        == Counter(landed=report["landed"], duplicate=report["duplicates"], quarantined=report["quarantined"])
        - Counter()
    ), states
    contents = {row["sha256"] for row in corpus.manifest.values()}
    blobs = [row["sha256"] for row in rows(tables, "blobs", "sha256")]
    assert len(blobs) == len(contents), (len(blobs), len(contents))
    failed = [row["arrival_id"] for row in rows(tables, "quarantine", "arrival_id")]
    assert len(failed) == len(set(failed)) == report["quarantined"]


def check_sha256(tables: Tables, corpus: Corpus) -> None:
    """The checksum and size of every asset are those of the manifest."""
    found = rows(tables, "assets", "path", "sha256", "size_bytes")
    assert len(found) == len(corpus.manifest)
    for row in found:
        said = corpus.manifest[key_to_path(row["path"])]
        assert (row["sha256"], row["size_bytes"]) == (said["sha256"], int(said["bytes"])), row["path"]


def check_bytes(tables: Tables, store: Any, corpus: Corpus) -> int:
    """Every blob, read by range where ``blobs`` says it lies, is byte for byte the file; returns the bytes read."""
    path_of = {row["sha256"]: os.fsdecode(path) for path, row in corpus.manifest.items()}
    refs = [BlobRef(**row) for row in rows(tables, "blobs", *REF_COLUMNS)]
    assert {ref.sha256 for ref in refs} == set(path_of)
    read = 0
    for ref, data in scan(store, refs):
        assert isinstance(data, bytes), data
        assert data == (corpus.folder / path_of[ref.sha256]).read_bytes(), path_of[ref.sha256]
        read += len(data)
    return read


def outcome(tables: Tables) -> dict[str, Counter[tuple[Any, ...]]]:
    """What a lake says of its recordings, less times, places, sources and run ids: equal for equal recordings."""
    columns = {
        "arrivals": ("key", "size_bytes", "state", "sha256"),
        "blobs": ("sha256", "size_bytes", "content_type"),
        "assets": ("path", "sha256", "media_kind", "content_type", "codecs", "duration_s", "width_px", "pages"),
        "quarantine": ("path", "sha256", "stage", "error_class", "message"),
    }
    return {
        name: Counter(tuple(row[c] for c in wanted) for row in rows(tables, name, *wanted))
        for name, wanted in columns.items()
    }


def check_second_run(tables: Tables, corpus: Corpus, ingest: Ingest) -> Report:
    """The same again: nothing lands, no file is opened, no table but the record of runs gets a version."""
    before = _versions(tables)
    with Opens(corpus.folder) as opens:
        report = ingest(corpus.folder)
    assert (report["seen"], report["arrivals"]) == (len(corpus.manifest), 0), report
    assert opens.paths == set()
    assert _versions(tables) == before
    return report


def check_new_files(tables: Tables, corpus: Corpus, ingest: Ingest) -> Report:
    """1 % new files: only those are opened and landed. Changes the folder."""
    new = {}
    for number, path in enumerate(corpus.paths()[: max(1, round(len(corpus.manifest) * NEW_FILES_SHARE))]):
        name = path.with_name(f"new-{number}{path.suffix}").relative_to(corpus.folder)
        new[str(name)] = path.read_bytes() + b"\n" * (number + 1)
        (corpus.folder / name).write_bytes(new[str(name)])
    with Opens(corpus.folder) as opens:
        report = ingest(corpus.folder)
    assert report["arrivals"] == len(new) == report["landed"] + report["quarantined"], report
    assert opens.paths == set(new)
    found = {row["path"]: row["sha256"] for row in rows(tables, "assets", "path", "sha256")}
    assert {name: found[name] for name in new} == {n: hashlib.sha256(data).hexdigest() for n, data in new.items()}
    return report


def check_overwritten(tables: Tables, corpus: Corpus, ingest: Ingest) -> None:
    """Other content at a known path: exactly one new version of it. Changes the folder."""
    path = next(p for p in corpus.paths() if p.suffix in (".html", ".txt", ".wav", ".png"))
    key = str(path.relative_to(corpus.folder))
    path.write_bytes(b"other content of the same name\n")
    report = ingest(corpus.folder)
    assert (report["arrivals"], report["landed"] + report["quarantined"]) == (1, 1), report
    versions = [row["sha256"] for row in rows(tables, "arrivals", "key", "sha256") if row["key"] == key]
    assert len(versions) == len(set(versions)) == 2


def check_renamed(tables: Tables, corpus: Corpus, ingest: Ingest) -> None:
    """Known content under a new name: one blob, two assets. Changes the folder."""
    path = corpus.paths()[-1]
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    assets = [row["sha256"] for row in rows(tables, "assets", "sha256")].count(sha256)
    path.with_name(f"twin{path.suffix}").write_bytes(data)
    report = ingest(corpus.folder)
    assert (report["arrivals"], report["landed"]) == (1, 0), report
    assert [row["sha256"] for row in rows(tables, "blobs", "sha256")].count(sha256) == 1
    assert [row["sha256"] for row in rows(tables, "assets", "sha256")].count(sha256) == assets + 1


def _versions(tables: Tables) -> dict[str, int]:
    return {name: tables.open(name).version() for name in ("arrivals", "blobs", "assets", "quarantine")}
