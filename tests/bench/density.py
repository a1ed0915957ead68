"""Part ``density``: what the lake takes beside the payload, by ``lake store stat``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from jobs.cli import Invocation
from jobs.context import Engines, open_job
from jobs.upkeep import maintain
from lake.catalog.maintain import maintain_tables
from tests.bench import process
from tests.bench.place import Place, ingest
from tests.bench.recording_sets import DRAWN, EQUAL, recording_sets
from tests.bench.report import Figure, Section, table

TEXT = """`lake store stat` of a folder after one ingest (no analysis has run: their results are payload of their own
kind): of the whole corpus, of 5,000 objects of 20 KB each and of 5,000 of mean 31 KB. The overhead is what frames,
footers, the table `blobs` and its log take; the whole root's is everything in the folder, all tables and logs in, less
the payload. *Maintained* is after `lake maintain`, its hold of a week over: until then, merged files lie beside what
they were merged into and the whole root is above its goal. The bench does not wait, and has the tables' old files
removed without a hold."""
TOLD = (
    "blobs",
    "packs",
    "large_blobs",
    "payload_bytes",
    "framing_bytes",
    "table_bytes",
    "overhead_bytes",
    "orphan_bytes",
    "root_bytes",
)


def measure(place: Place) -> Section:
    section = Section("density", "Density", TEXT)
    folders = recording_sets(place)
    corpus = str(place.scratch / "maintained-corpus")
    shutil.copytree(place.lake.settings.root, corpus)
    roots = {"corpus": corpus, **{name: _landed(place, folders[name]) for name in (EQUAL, DRAWN)}}
    for name, root in roots.items():
        before = _stat(root)
        _keep_up(root)
        after = _stat(root)
        told = [(field, before[field], after[field]) for field in TOLD]
        section.tables.append(table((f"store stat, {name}", "ingested", "maintained"), told))
        section.figures += _figures(name, before, after)
    for path in (*folders.values(), *map(Path, roots.values())):
        shutil.rmtree(path)
    return section


def _landed(place: Place, folder: Path) -> str:
    root = place.empty_lake(f"lake-{folder.name}").settings.root
    ingest(root, folder)
    return root


def _stat(root: str) -> dict[str, Any]:
    stat = process.run("jobs.cli", "--root", root, "store", "stat", "--json").document
    assert stat["missing_objects"] == 0, stat
    return stat


def _keep_up(root: str) -> None:
    """``lake maintain``, and what it does once its hold is over: its own run holds what was read when it began."""
    invocation = Invocation(root=root, json=True)
    job = open_job(invocation)
    with Engines(job.settings, None, "bench") as engines:
        maintain(job, invocation, engines, 0)
    maintain_tables(job.tables, 0)


def _figures(name: str, before: dict[str, Any], after: dict[str, Any]) -> list[Figure]:
    figures = []
    for when, stat in (("ingested", before), ("maintained", after)):
        share = 100 * stat["overhead_bytes"] / stat["payload_bytes"]
        whole_root = stat["root_overhead_bytes_per_blob"]
        figures += [
            Figure(
                f"{name}, {when}: packs and `blobs`, an object, bytes", stat["overhead_bytes_per_blob"], at_most=256
            ),
            Figure(f"{name}, {when}: packs and `blobs`, % of the payload", share, at_most=1 if name == DRAWN else None),
            Figure(
                f"{name}, {when}: whole root less the payload, an object, bytes",
                whole_root,
                at_most=512 if when == "maintained" else 1024,
            ),
        ]
    return figures
