"""Part ``engine``: what a verb costs that starts Spark, and what it costs on the warm engine."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from lake.engine.record import read_record
from lake.settings import load_settings
from tests.bench import process
from tests.bench.place import Place
from tests.bench.report import Figure, Section, table
from tests.support.engines import WarmEngine

VERBS = {
    "ingest": ("ingest", "{folder}", "--engine", "spark"),
    "analyze": ("analyze", "image_hash", "--engine", "spark"),
    "sql": ("sql", "SELECT media_kind, count(*) FROM assets GROUP BY 1", "--engine", "spark"),
    "library build": ("library", "build", "site_watch"),
}
WITHIN = 0.25
TEXT = """Whole processes of `lake` on a lake in a folder that gets one picture more each round: `ingest` and
`analyze` of that picture, one query, and the build of a library whose inputs have changed. *Cold* starts Spark with the
class-data archive of [decisions/0001](decisions/0001-class-data-archive.md), *warm* attaches to an engine that
`lake engine start` left; in turn, medians of {repeats} rounds after one that is not counted."""


@dataclass
class Lake:
    """One lake, its drop zone, and the variables that say which engine there is."""

    root: str
    folder: Path
    environ: dict[str, str]
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def round(self, picture: bytes, number: int) -> None:
        """Deliver a picture and run every verb."""
        (self.folder / f"picture-{number}.jpg").write_bytes(picture + f"{number}".encode())
        for name, words in VERBS.items():
            command = [word.format(folder=self.folder) for word in words]
            done = process.run("jobs.cli", "--root", self.root, *command, "--json", environ=self.environ)
            assert done.document.get("landed", 1) == 1, done.document
            assert done.document.get("engine", "spark") == "spark", done.document
            if number:
                self.seconds[name].append(done.wall_s)


def measure(place: Place) -> Section:
    assert read_record(load_settings(str(place.scratch / "none"))) is None, "an engine runs: `lake engine stop` first"
    picture = next(each for each in sorted(place.sample(200).iterdir()) if each.suffix == ".jpg").read_bytes()
    engine = WarmEngine(place.scratch / "engine")
    lakes = {"cold": _lake(place, "cold", {}), "warm": _lake(place, "warm", engine.variables)}
    with engine:
        for number in range(place.repeats + 1):
            for lake in lakes.values():
                lake.round(picture, number)
    cold, warm = ({verb: median(each) for verb, each in lakes[name].seconds.items()} for name in lakes)
    rows = [(f"`{verb}`", cold[verb], warm[verb], cold[verb] - warm[verb]) for verb in VERBS]
    figures = [Figure(f"{verb}, warm over cold", warm[verb] / cold[verb], at_most=WITHIN) for verb in VERBS]
    head = ("verb", "cold, s", "warm, s", "saved, s")
    return Section("engine", "The warm engine", TEXT.format(repeats=place.repeats), figures, [table(head, rows)])


def _lake(place: Place, name: str, environ: dict[str, str]) -> Lake:
    folder = place.scratch / f"engine-{name}-in"
    folder.mkdir()
    return Lake(place.empty_lake(f"engine-{name}").settings.root, folder, environ)
