"""Real recordings for tests: a fixed subset of the shared corpus, or all of it, fetched once and kept in the cache."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest

from lake.settings import cache_dir

SHARED = Path(__file__).resolve().parents[3] / "shared" / "corpus"
PACKAGES = ("debian-reference-zh-cn", "gem-doc", "kf5-messagelib", "pandoc", "pocketsphinx-testdata", "pytorch-vision")
"""546 files of audio, video, images and documents, some of them broken on purpose; 35 MB to fetch."""
KINDS = ("audio", "video", "image", "document")
COMPLETE = ".complete"


@dataclass(frozen=True)
class Corpus:
    """Files and what the manifest says of them."""

    folder: Path
    manifest: dict[bytes, dict[str, str]]
    """By path below the folder."""

    def paths(self) -> list[Path]:
        return [self.folder / os.fsdecode(path) for path in self.manifest]

    def copy_to(self, folder: Path) -> Corpus:
        """A copy of the files alone, which a test may change."""
        for path in self.manifest:
            target = folder / os.fsdecode(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.folder / os.fsdecode(path), target)
        return Corpus(folder, self.manifest)


def is_beside() -> bool:
    """Whether the shared corpus's script lies beside this checkout."""
    return (SHARED / "fetch").exists()


def subset() -> Corpus:
    """The fixed subset that every test run uses."""
    return _fetched(cache_dir() / "corpus-subset", PACKAGES)


def whole() -> Corpus:
    """All 13,282 files: where ``LAKE_CORPUS`` says, or in the cache."""
    return _fetched(Path(os.environ.get("LAKE_CORPUS") or cache_dir() / "corpus"), ())


def _fetched(folder: Path, packages: Sequence[str]) -> Corpus:
    """The corpus in a folder, fetched when it is missing; a fetch that fails raises: no test passes without files."""
    if not (folder / COMPLETE).exists():
        only = [word for package in packages for word in ("--only", package)]
        done = subprocess.run([SHARED / "fetch", folder, *only], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the corpus cannot be fetched: {' '.join(done.stderr.strip().splitlines()[-1:])}")
        (folder / COMPLETE).touch()
    return Corpus(folder, _manifest(folder, set(packages)))


def _manifest(folder: Path, packages: set[str]) -> dict[bytes, dict[str, str]]:
    """Rows of the manifest by path; a file that is missing is an error."""
    with (SHARED / "manifest.tsv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    found = {unquote_to_bytes(row["path"]): row for row in rows if not packages or row["package"] in packages}
    missing = [path for path in found if not (folder / os.fsdecode(path)).exists()]
    if missing:
        raise RuntimeError(f"{folder} lacks {len(missing)} files of the corpus, such as {missing[0]!r}: remove it")
    return found


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    """The subset. Where the shared folder is not beside the checkout there is nothing to test with."""
    if not is_beside():
        pytest.skip("the shared corpus is not beside this checkout")
    return subset()


@pytest.fixture(scope="session")
def whole_corpus() -> Corpus:
    """All of it; only tests marked ``full`` ask for it."""
    if not is_beside():
        pytest.skip("the shared corpus is not beside this checkout")
    return whole()
