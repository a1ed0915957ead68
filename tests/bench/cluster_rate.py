"""Part ``cluster_rate``: the same analysis on a standalone cluster of one worker with one core, and of two."""

from __future__ import annotations

from statistics import median

from tests.bench import process
from tests.bench.compute_lake import FILE, results
from tests.bench.compute_recordings import recordings
from tests.bench.measured_analyses import FRAME_HASH
from tests.bench.place import Place, ingest
from tests.bench.report import Figure, Section, table
from tests.support.cluster import Cluster

SIZES = (100, 1200)
TEXT = """`lake analyze` with a hash of a frame each half second on films, on a Spark standalone master with one worker
of one core, and with two. The rate is that of what one more film costs, between {sizes} films, so that the start of
driver and executors is not in it. Driver, master and workers share the two cores of the machine. The results of all
runs are equal. Medians of {repeats}."""


def measure(place: Place) -> Section:
    roots = {count: _landed(place, count) for count in SIZES}
    seconds: dict[tuple[int, int], float] = {}
    found: dict[int, list[tuple[str, str]]] = {}
    for workers in (1, 2):
        folder = place.scratch / f"cluster-{workers}"
        folder.mkdir()
        with Cluster(folder, workers) as cluster:
            conf = cluster.conf() / "lake.yaml"
            conf.write_text(conf.read_text().replace("{wave_max_recordings: 60}", "{wave_max_recordings: 2048}"))
            for count, root in roots.items():
                times = []
                for _ in range(place.repeats):
                    wall_s, again = _analyzed(place, root, count, str(cluster.conf()))
                    times.append(wall_s)
                    assert found.setdefault(count, again) == again, "other results"
                seconds[workers, count] = median(times)
    small, large = SIZES
    marginal = {workers: (seconds[workers, large] - seconds[workers, small]) / (large - small) for workers in (1, 2)}
    rows = [(w, seconds[w, small], seconds[w, large], 1000 * marginal[w]) for w in (1, 2)]
    head = ("workers", f"{small} films, s", f"{large} films, s", "one more, ms")
    figures = [Figure("rate of two workers over that of one", marginal[1] / marginal[2], at_least=1.6)]
    text = TEXT.format(sizes=f"{small:,} and {large:,}", repeats=place.repeats)
    return Section("cluster_rate", "One worker and two", text, figures, [table(head, rows)])


def _landed(place: Place, count: int) -> str:
    root = place.empty_lake(f"cluster-{count}").settings.root
    ingest(root, recordings(place, "video", count))
    return root


def _analyzed(place: Place, root: str, count: int, conf: str) -> tuple[float, list[tuple[str, str]]]:
    """Seconds of ``lake analyze`` on a copy of a lake, and the results."""
    copy = place.copy_of(root)
    command = ("--root", copy, "analyze", FRAME_HASH.name, "--module", str(FILE), "--json")
    done = process.run("jobs.cli", *command, environ={"LAKE_CONF": conf})
    assert done.document["engine"] == "spark"
    assert done.document["analyses"][FRAME_HASH.name]["done"] == count
    return done.wall_s, sorted(results(copy, FRAME_HASH))
