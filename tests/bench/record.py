"""Part ``record``: what the record of a run, and telling its progress, cost the run."""

from __future__ import annotations

import os
from collections import defaultdict
from statistics import median

from jobs.cli import Invocation
from jobs.context import open_job
from tests.bench import process
from tests.bench.compute_recordings import recordings
from tests.bench.place import Place, ingest
from tests.bench.record_run import COSTS, DRAWN, NUMBERS, OPENED, PROGRESS, ROWS, WORKERS
from tests.bench.report import Figure, Section, table

RECORDINGS, LEAST_ROUNDS = 1_000, 5
HOWS = ("kept", "none", "timed")
AT_MOST = 0.02
TEXT = """`lake analyze` of a log-mel summary on {recordings} sounds of the corpus by the local engine, before a
terminal. *Kept* is the command as it is; in *none* the rows of `runs` and `run_stages`, percentiles, the ten slowest,
costs and progress are replaced by nothing, by patches of the bench; in *timed* these functions are timed: what is spent
beside the driver's own work, in workers and by the thread that draws, is shared by all cores. What an import takes
counts to who comes first, so the shares are upper bounds. Processor time is that of driver and workers, their decoding
children not in. In turn, medians of {rounds}; {spread}."""


def measure(place: Place) -> Section:
    rounds = max(LEAST_ROUNDS, place.repeats)
    root = place.empty_lake("record").settings.root
    ingest(root, recordings(place, "audio", RECORDINGS))
    walls: dict[str, list[float]] = defaultdict(list)
    cpus: dict[str, list[float]] = defaultdict(list)
    shares: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds):
        for how in HOWS if number % 2 else HOWS[::-1]:
            done, spent = _run(place, root, how)
            walls[how].append(done.wall_s)
            cpus[how].append(done.cpu_s)
            for part, seconds in spent.items():
                shares[part].append(seconds / done.wall_s)
    wall, cpu = ({how: median(each) for how, each in of.items()} for of in (walls, cpus))
    share = {part: median(shares[part]) for part in (ROWS, NUMBERS, WORKERS, COSTS, PROGRESS, OPENED, DRAWN)}
    without_s = walls["none"]
    section = Section("record", "The record of runs", "")
    section.text = TEXT.format(
        recordings=f"{RECORDINGS:,}",
        rounds=rounds,
        spread=f"*none* took {min(without_s):.2f} to {max(without_s):.2f} s",
    )
    section.tables = [
        table(("run", "s", "processor s"), [(how, wall[how], cpu[how]) for how in HOWS]),
        table(
            ("part", "ms", "% of the run"),
            [(part, 1000 * each * wall["timed"], round(100 * each, 3)) for part, each in share.items()],
        ),
    ]
    section.figures = [
        Figure("time with the record over time without", wall["kept"] / wall["none"], at_most=1 + AT_MOST),
        Figure("within the code of the record: % of the run", 100 * sum(share.values()), at_most=100 * AT_MOST),
        Figure("the same where there is no terminal", 100 * (sum(share.values()) - share[OPENED] - share[DRAWN])),
        Figure("of it progress: % of the run", 100 * (share[PROGRESS] + share[OPENED] + share[DRAWN])),
    ]
    return section


def _run(place: Place, root: str, how: str) -> tuple[process.Measured, dict[str, float]]:
    """One run on a copy of the lake, and the seconds spent in each part of its record."""
    copy, log = place.copy_of(root), place.scratch / "record-spent"
    log.write_text("")
    done = process.run("tests.bench.record_run", how, copy, str(log))
    tables = open_job(Invocation(root=copy, json=True)).tables
    stages = tables.dataset("run_stages").to_table(columns=["stage"])["stage"].to_pylist()
    assert ("analyze" in stages) == (how != "none"), f"{how}: {stages}"
    results = len(set(tables.dataset("feature_log_mel").to_table(columns=["sha256"])["sha256"].to_pylist()))
    assert results > RECORDINGS * 0.9, f"{how}: {results} results"
    spent: dict[str, float] = done.document["spent"]
    if how == "timed":
        cores = os.cpu_count() or 1
        spent[WORKERS] = sum(map(float, log.read_text().split())) / cores
        spent[DRAWN] /= cores
    return done, spent
