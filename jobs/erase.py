"""Erasure as a recorded run: what ``lake store erase`` calls."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jobs.cli import Invocation
from lake.errors import UsageError

if TYPE_CHECKING:
    from jobs.context import Engines, Job
    from lake.catalog.erase import Erasure

SECRET_OPTIONS = ("--query",)
"""What is erased may stand in them: a run's record does not repeat it."""


def preview_erasure(job: Job, chosen: set[str], engines: Engines) -> dict[str, Any]:
    """What would be erased, as the verb's document; nothing is written."""
    from lake.catalog.erase import preview

    started = time.monotonic()
    report = preview(_erasure(job, engines, "dry run", ""), chosen)
    return {"run_id": None, **vars(report), "seconds": round(time.monotonic() - started, 3)}


def erase_recordings(
    job: Job, invocation: Invocation, engines: Engines, chosen: set[str], reason: str
) -> dict[str, Any]:
    """Erase, recorded as a run, and return the verb's document."""
    from jobs.context import recorded
    from jobs.progress import Progress
    from lake.catalog.erase import erase

    started = time.monotonic()
    said = replace(invocation, argv=without_secrets(invocation.argv))
    with (
        Progress("erase", quiet=invocation.json) as progress,
        recorded(job, said, "store erase", exclusive=["erase"], leased=False) as run,
    ):
        report = erase(
            _erasure(job, engines, run.run_id, reason),
            chosen,
            engines.started,
            lambda what, done: progress.update(done, None, 0),
        )
        run.engine = engines.said
        run.stage(
            "erase",
            rows_in=report.contents,
            rows_out=report.contents,
            rows_failed=len(report.unresolved),
            size_bytes=report.bytes,
            seconds=time.monotonic() - started,
        )
    return {"run_id": run.run_id, **vars(report), "seconds": round(time.monotonic() - started, 3)}


def without_secrets(argv: Sequence[str]) -> list[str]:
    """The arguments of a command, less the values of options that may quote what is to be erased."""
    hidden: list[str] = []
    for argument in argv:
        option, is_set, _ = argument.partition("=")
        if hidden and hidden[-1] in SECRET_OPTIONS:
            hidden.append("…")
        elif is_set and option in SECRET_OPTIONS:
            hidden.append(f"{option}=…")
        else:
            hidden.append(argument)
    return hidden


def _erasure(job: Job, engines: Engines, run_id: str, reason: str) -> Erasure:
    from jobs.context import utc_now
    from lake.catalog.erase import Erasure
    from lake.library.build import build
    from lake.library.spec import load_themes
    from lake.store.alone import alone
    from lake.store.compact import CompactContext

    def waits(holder: object) -> None:
        print(f"lake: waiting for {holder}", file=sys.stderr, flush=True)

    def by_oneself() -> AbstractContextManager[None]:
        return alone(job.store, utc_now, waits)

    def build_anew(library: str) -> None:
        themes = load_themes(job.settings.conf_dir / "themes")
        if library not in themes:
            raise UsageError(f"library {library} is described no more, and its rows lead to no recording")
        build(engines.spark, job.tables, themes[library], run_id)

    ingest = job.settings.ingest
    context = CompactContext(job.store, ingest.pack_target_bytes, ingest.max_blob_bytes, job.staging_dir)
    return Erasure(context, job.tables, run_id, reason, utc_now, by_oneself, build_anew)
