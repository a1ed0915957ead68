"""Part ``isolation``: what it costs that recordings are decoded in a supervised child, and what the bad ones cost."""

from __future__ import annotations

import functools
import multiprocessing
import os
import time
from collections.abc import Iterable, Sequence
from multiprocessing.pool import Pool
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from lake.analysis.user_module import UserModule, read_module
from lake.media.child import FUNCTIONS, answer
from lake.media.child_process import ENVIRON
from lake.media.limits import Limits
from lake.media.sandbox import Call, Sandbox
from lake.media.sniff import sniff
from tests.bench import process
from tests.bench.compute_contest import MEASURED
from tests.bench.compute_recordings import recordings
from tests.bench.measured_analyses import FRAME_HASH, LOG_MEL
from tests.bench.place import Place, ingest
from tests.bench.report import Figure, Section, table
from tests.support.hurt_recordings import HURT_ANALYSIS, LIMIT_S, WIDTHS_PX, good_picture

PROCESSES = 2
CHUNK = 8
PRICED = (("log_mel", "audio", 600), ("document_text", "document", 400), ("frame_hash", "video", 32))
"""Analysis, kind and number of recordings."""
ENDLESS_LIMIT_S = 5.0
PICTURES = 600
HURT_SHARES = (("truncated", 9), ("endless", 3), ("ending", 3), ("crashing", 3))
"""Three in a hundred of the pictures."""
TEXT = f"""*Price*: the same functions on the same recordings by {PROCESSES} processes, within them and each in a
supervised child; both are warm, in turn, one thread each, with equal results. *Time-out*: {PICTURES} pictures in one
child, with and without one whose analysis loops for ever; its limit is {ENDLESS_LIMIT_S:g} s. *Hurt*: `lake analyze` on
{PICTURES} pictures, and on the same with 3 % of them hurt ({", ".join(f"{n} {kind}" for kind, n in HURT_SHARES)}),
a limit of {LIMIT_S:g} s; two processes may wait at once. Medians of {{repeats}}."""


def measure(place: Place) -> Section:
    section = Section("isolation", "Isolation", TEXT.format(repeats=place.repeats))
    rows = []
    for analysis, kind, count in PRICED:
        inside_s, child_s = _price(place, analysis, recordings(place, kind, count))
        rows.append((analysis, count, inside_s, child_s, child_s / inside_s))
        section.figures.append(Figure(f"{analysis}: time in a child over time within", child_s / inside_s, at_most=1.1))
    head = ("analysis", "recordings", "within, s", "in a child, s", "ratio")
    section.tables.append(table(head, rows))
    section.figures.append(
        Figure("an endless recording's cost over its limit", _endless_s(place) / ENDLESS_LIMIT_S, at_most=1.1)
    )
    section.figures += _hurt(place)
    return section


def _price(place: Place, analysis: str, folder: Path) -> tuple[float, float]:
    """Median seconds of both ways on all recordings of a folder."""
    paths = sorted(str(path) for path in folder.iterdir())
    chunks = [paths[at : at + CHUNK] for at in range(0, len(paths), CHUNK)]
    seconds: dict[bool, list[float]] = {False: [], True: []}
    # Children have one thread for linear algebra. With one for each core the processes here are four times as slow.
    with patch.dict(os.environ, ENVIRON), multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        results = {isolated: _run(pool, analysis, chunks, isolated)[1] for isolated in seconds}  # warms both
        assert results[False] == results[True], f"{analysis}: other results in a child"
        for _ in range(place.repeats):
            for isolated in seconds:
                seconds[isolated].append(_run(pool, analysis, chunks, isolated)[0])
    return median(seconds[False]), median(seconds[True])


def _run(pool: Pool, analysis: str, chunks: Sequence[Sequence[str]], isolated: bool) -> tuple[float, dict[str, Any]]:
    started = time.perf_counter()
    found: dict[str, Any] = {}
    for part in pool.imap_unordered(functools.partial(_chunk, analysis, isolated), chunks):
        found |= part
    return time.perf_counter() - started, found


def _chunk(analysis: str, isolated: bool, paths: Sequence[str]) -> dict[str, Any]:
    """Runs in a process of the pool: what each recording gives."""
    requests = ((path, request) for path in paths if (request := _request(analysis, Path(path))))
    if not isolated:
        return {path: answer(FUNCTIONS, {"function": "analyze", "args": args})["value"] for path, args in requests}
    calls = (Call(path, "analyze", args) for path, args in requests)
    return {outcome.id: outcome.value for outcome in _sandbox().map(calls)}


@functools.cache
def _sandbox() -> Sandbox:
    """The child of this process of the pool."""
    return Sandbox(Limits())


def _request(analysis: str, path: Path) -> dict[str, Any] | None:
    """What the runner sends its child for a recording; None where the analysis does not apply."""
    data = path.read_bytes()
    sniffed = sniff(data[:65536], size_bytes=len(data), name=path.name, data=data)
    if not MEASURED[analysis].applies_to(sniffed.media_kind, sniffed.content_type):
        return None
    own = analysis in (LOG_MEL.name, FRAME_HASH.name)
    return request(
        {analysis: dict(MEASURED[analysis].params)},
        {analysis: _measured_module().to_plain()} if own else {},
        (sniffed.content_type, sniffed.media_kind),
        data,
    )


def request(
    analyses: dict[str, Any], modules: dict[str, Any], kind: tuple[str, str], data: bytes, threads: int = 1
) -> dict[str, Any]:
    """The arguments of the child's function ``analyze``, as ``lake.analysis.worker`` makes them."""
    content_type, media_kind = kind
    facts = {"sha256": "0" * 64, "content_type": content_type, "media_kind": media_kind, "path": None}
    return {"analyses": analyses, "modules": modules, "threads": threads, "data": data, **facts}


@functools.cache
def _measured_module() -> UserModule:
    return read_module(str(Path(__file__).with_name("measured_analyses.py")))


def _endless_s(place: Place) -> float:
    """Median seconds that an endless recording adds to a run in one child."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    with Sandbox(Limits()) as sandbox:
        _pictures_s(sandbox, endless=False)
        for _ in range(place.repeats):
            for endless in seconds:
                seconds[endless].append(_pictures_s(sandbox, endless=endless))
    return median(seconds[True]) - median(seconds[False])


def _pictures_s(sandbox: Sandbox, *, endless: bool) -> float:
    pictures = [good_picture(number) for number in range(PICTURES)]
    if endless:
        pictures[PICTURES // 2] = good_picture(PICTURES // 2, WIDTHS_PX["endless"])
    module = {"mean_grey": UserModule("mean_grey.py", HURT_ANALYSIS).to_plain()}
    requests = [request({"mean_grey": {}}, module, ("image/png", "image"), data) for data in pictures]
    started = time.perf_counter()
    calls = (Call(str(number), "analyze", each, ENDLESS_LIMIT_S) for number, each in enumerate(requests))
    failed = [outcome.id for outcome in sandbox.map(calls) if outcome.failure is not None]
    seconds = time.perf_counter() - started
    assert failed == [str(PICTURES // 2)] * endless, failed
    return seconds


def _hurt(place: Place) -> Iterable[Figure]:
    """What hurt pictures add to a run of the command."""
    module = place.scratch / "mean_grey.py"
    module.write_text(HURT_ANALYSIS)
    hurt = sum(count for _, count in HURT_SHARES)
    lakes = {"good": _lake(place, "good", ()), "hurt": _lake(place, "hurt", HURT_SHARES)}
    seconds: dict[str, list[float]] = {name: [] for name in lakes}
    for _ in range(place.repeats):
        for name, root in lakes.items():
            done = process.run("jobs.cli", "--root", place.copy_of(root), "analyze", "--module", str(module), "--json")
            counts = done.document["analyses"]["mean_grey"]
            failed = 0 if name == "good" else hurt
            assert (counts["done"], counts["failed"]) == (PICTURES - failed, failed), counts
            seconds[name].append(done.wall_s)
    good_s, hurt_s = median(seconds["good"]), median(seconds["hurt"])
    waited_s = LIMIT_S * dict(HURT_SHARES)["endless"]
    # No goal: the two processes of the engine may wait at once, so the sum of the time-outs is no lower bound.
    yield Figure("3 % hurt: wall time that they add, over the sum of their time-outs", (hurt_s - good_s) / waited_s)
    yield Figure("3 % hurt: wall time without them", good_s, "s")
    yield Figure("3 % hurt: wall time that they add", hurt_s - good_s, "s")


def _lake(place: Place, name: str, shares: Sequence[tuple[str, int]]) -> str:
    """A lake of pictures, of which some hurt their analysis."""
    folder = place.scratch / f"isolation-in-{name}"
    folder.mkdir()
    kinds = [kind for kind, count in shares for _ in range(count)]
    # Spread over the corpus, and so over the tasks.
    bad = {PICTURES * place_ // max(1, len(kinds)) + 7: kind for place_, kind in enumerate(kinds)}
    for number in range(PICTURES):
        kind = bad.get(number, "")
        data = good_picture(number, WIDTHS_PX[kind]) if kind in WIDTHS_PX else good_picture(number)
        if kind == "truncated":  # its end is there, so that it is landed
            data = data[:41] + bytes([255] * 40) + data[81:]
        (folder / f"{number:04}.png").write_bytes(data)
    root = place.empty_lake(f"isolation-{name}").settings.root
    landed = ingest(root, folder).document
    assert landed["landed"] == PICTURES, landed
    return root
