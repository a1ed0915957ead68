"""Erasure as a recorded run: what ``lake store erase`` calls."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jobs.cli import Invocation
from jobs.upkeep import Counts, Told, compact_context, recorded_work
from lake.errors import UsageError

if TYPE_CHECKING:
    from jobs.context import Engines, Job
    from lake.catalog.erase import Erasure

SECRET_OPTIONS = ("--query",)
"""What is erased may stand in them: a run's record does not repeat it."""


def preview_erasure(job: Job, invocation: Invocation, engines: Engines, chosen: set[str]) -> dict[str, Any]:
    """What would be erased, as the verb's document; nothing is written."""
    from lake.catalog.erase import preview

    def work(told: Told, run_id: str) -> Any:
        return preview(_erasure(job, engines, run_id, ""), chosen, lambda done: told(done, 0))

    return recorded_work(job, invocation, "erase", work, _counts, True)


def erase_recordings(
    job: Job, invocation: Invocation, engines: Engines, chosen: set[str], reason: str
) -> dict[str, Any]:
    """Erase, recorded as a run, and return the verb's document."""
    from lake.catalog.erase import erase

    def work(told: Told, run_id: str) -> Any:
        return erase(_erasure(job, engines, run_id, reason), chosen, engines.started, lambda done: told(done, 0))

    said = replace(invocation, argv=without_secrets(invocation.argv))
    return recorded_work(job, said, "erase", work, _counts, False, leased=False, exclusive=["erase"], engines=engines)


def _counts(report: Any) -> Counts:
    return report.contents, report.contents, len(report.unresolved), report.bytes


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
    from jobs.context import tell_wait, utc_now
    from lake.catalog.erase import Erasure
    from lake.library.build import build
    from lake.library.spec import load_themes
    from lake.store.alone import alone

    def by_oneself() -> AbstractContextManager[None]:
        return alone(job.store, utc_now, tell_wait)

    def build_anew(library: str) -> None:
        themes = load_themes(job.settings.conf_dir / "themes")
        if library not in themes:
            raise UsageError(f"library {library} is described no more, and its rows lead to no recording")
        build(engines.spark, job.tables, themes[library], run_id)

    return Erasure(compact_context(job), job.tables, run_id, reason, utc_now, by_oneself, build_anew)
