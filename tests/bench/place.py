"""Where the bench works: copies of the corpus and lakes, made when first asked for, removed at the end."""

from __future__ import annotations

import functools
import os
import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.cli import Invocation
from jobs.context import Job, open_job
from lake.catalog.create import create_lake
from tests.bench import process
from tests.support.corpus import Corpus, whole

SEED = 20260712


@dataclass(frozen=True)
class Place:
    """A scratch folder and how often what is timed is repeated."""

    scratch: Path
    repeats: int
    sizes: tuple[int, ...] = (1_000_000, 3_000_000, 10_000_000)
    """Rows of the lakes that are made for the part ``scale``."""
    sounds: tuple[int, ...] = ()
    """How many sounds the parts ``others`` and ``long`` analyse, where it is not as many as they say themselves."""

    def corpus(self, name: str) -> Corpus:
        """A copy of the whole corpus that a part may change."""
        return whole().copy_to(self.scratch / name)

    def sample(self, count: int, *, largest: int = 0) -> Path:
        """A flat folder of files drawn by the seed; a smaller sample is part of a larger one.

        ``largest`` files of the largest below the pack limit come first, so that samples of any size share them.
        """
        folder = self.scratch / f"sample-{count}-{largest}"
        if folder.exists():
            return folder
        folder.mkdir()
        paths = sorted(path for path in whole().paths())
        first = sorted((p for p in paths if p.stat().st_size < PACKED_BYTES), key=lambda p: -p.stat().st_size)[:largest]
        rest = [path for path in paths if path not in set(first)]
        random.Random(SEED).shuffle(rest)
        for number, path in enumerate([*first, *rest][:count]):
            # The plain script reads through Hadoop, whose paths refuse some characters: numbers for names.
            shutil.copyfile(path, folder / f"{number:05}{path.suffix.lower()}")
        return folder

    def empty_lake(self, name: str) -> Job:
        """A new lake in the scratch folder."""
        root = self.scratch / name
        shutil.rmtree(root, ignore_errors=True)
        return new_job(str(root))

    def copy_of(self, root: str) -> str:
        """The root of a copy of a lake, in place of the last one; packs are shared, as they are never written again."""
        copy = self.scratch / "copied"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(root, copy, copy_function=_link_packs)
        return str(copy)

    @functools.cached_property
    def lake(self) -> Job:
        """A lake that the whole corpus was landed in once, for the parts that only read it."""
        job = self.empty_lake("whole")
        ingest(job.settings.root, self.corpus("whole-in").folder)
        return job


PACKED_BYTES = 8 * 1024**2


def _link_packs(source: str, target: str) -> None:
    (os.link if "/packs/" in source else shutil.copy2)(source, target)


def new_job(root: str) -> Job:
    job = open_job(Invocation(root=root, json=True), must_exist=False)
    create_lake(job.settings, job.tables, job.store)
    return job


def ingest(
    root: str,
    source: Path | str,
    engine: str = "local",
    *,
    environ: Mapping[str, str] | None = None,
    sampled: bool = False,
) -> process.Measured:
    """``lake ingest`` as a process of its own."""
    command = ("jobs.cli", "--root", root, "ingest", str(source), "--engine", engine, "--json")
    return process.run(*command, environ=environ, sampled=sampled)
