"""Part ``read``: what the reading verbs take on a lake of the whole corpus; none of them starts a JVM."""

from __future__ import annotations

from statistics import median

from tests.bench import process
from tests.bench.place import Place
from tests.bench.report import Section, table

TEXT = """Whole processes, the interpreter's start in, on a lake that holds the whole corpus. Medians of {repeats}."""


def measure(place: Place) -> Section:
    root = place.lake.settings.root
    asset = place.lake.tables.dataset("assets").head(1, columns=["asset_id"])["asset_id"][0].as_py()
    verbs = (
        ("cat", asset),
        ("quarantine", "list"),
        ("runs", "list"),
        ("library", "list"),
        ("store", "stat"),
        ("sql", "SELECT media_kind, count(*) FROM assets GROUP BY ALL", "--engine", "local"),
        ("report", "-o", str(place.scratch / "report.html")),
    )
    rows = []
    for verb in verbs:
        seconds = [process.run("jobs.cli", "--root", root, *verb).wall_s for _ in range(place.repeats)]
        rows.append(
            (" ".join(("lake", *verb[:2])) if verb[0] not in ("cat", "report") else f"lake {verb[0]}", median(seconds))
        )
    return Section("read", "Reading verbs", TEXT.format(repeats=place.repeats), [], [table(("verb", "s"), rows)])
