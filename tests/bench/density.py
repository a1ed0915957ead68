"""Part ``density``: what the lake takes beside the payload, by ``lake store stat``."""

from __future__ import annotations

from tests.bench import process
from tests.bench.place import Place
from tests.bench.report import Figure, Section, table

TEXT = """`lake store stat` after the whole corpus was landed once in a folder (no analysis has run: their results are
payload of their own kind). The overhead is what frames, footers, the table `blobs` and its log take; the whole root's
is everything in the folder, all tables and logs in, less the payload."""
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
    stat = process.run("jobs.cli", "--root", place.lake.settings.root, "store", "stat", "--json").document
    assert stat["missing_objects"] == 0, stat
    figures = [
        Figure("overhead of an object, bytes", stat["overhead_bytes_per_blob"], at_most=256),
        Figure("whole root less the payload, an object, bytes", stat["root_overhead_bytes_per_blob"], at_most=1024),
    ]
    rows = [(name, stat[name]) for name in TOLD]
    return Section("density", "Density", TEXT, figures, [table(("store stat", ""), rows)])
