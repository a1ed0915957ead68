"""Devices that do not exist: recordings made by seeded code, with the truth about them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, ClassVar
from urllib.parse import parse_qsl, quote, urlsplit

from connectors.base import Options
from connectors.folder import Folder
from connectors.simulated.truth import Burst, File, Gap, Page, ShotChange, Truth
from lake.errors import SourceError, Unreadable, UsageError
from lake.model import Arrival, Skipped

__all__ = ["Burst", "File", "Gap", "Page", "ShotChange", "Simulated", "Truth", "simulate"]


def simulate(folder: Path, seed: int = 7, minutes: float = 2.0, truth_path: Path | None = None) -> Truth:
    """Fill ``folder`` with one subfolder a device; see ``connectors.simulated.generate.simulate``."""
    from connectors.simulated import generate  # brings OpenCV, which listing a folder does not need

    return generate.simulate(folder, seed, minutes, truth_path)


@dataclass(frozen=True)
class Simulated:
    """``simulated://city?seed=7&minutes=2``: made once on each machine that lists or reads it, then read as a folder.

    Versions are sums over the content, so that every machine sees the same arrivals.
    """

    city: str
    seed: int = 7
    minutes: float = 2.0
    spool: str = ""
    """Folder that the recordings are made in; below the user's cache when not given."""

    name: ClassVar[str] = "simulated"

    @classmethod
    def from_uri(cls, uri: str, options: Options) -> Simulated:
        """The query may give ``seed``, ``minutes`` and ``spool``."""
        parts = urlsplit(uri)
        given = dict(parse_qsl(parts.query))
        readers: dict[str, Any] = {"seed": int, "minutes": float, "spool": str}
        unknown = sorted(set(given) - set(readers))
        if unknown:
            raise UsageError(f"Source {uri!r}: unknown {unknown[0]!r}; known are {', '.join(readers)}.")
        try:
            return cls(parts.netloc or "city", **{name: readers[name](value) for name, value in given.items()})
        except ValueError as error:
            raise UsageError(f"Source {uri!r}: {error}.") from error

    def __getstate__(self) -> dict[str, Any]:
        """Without what was looked up on this machine."""
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}

    @property
    def source(self) -> str:
        return f"simulated://{quote(self.city)}?seed={self.seed}&minutes={self.minutes:g}"

    @property
    def truth(self) -> Truth:
        """What was simulated."""
        return Truth.load(self._home / "truth.json")

    def discover(self, after: str | None = None) -> Iterator[Arrival | Skipped]:
        """See ``Connector.discover``. Simulates when this was not done yet."""
        sums = self._sums
        for found in self._folder.discover(after):
            if isinstance(found, Skipped):
                yield found
            elif found.key in sums:
                yield Arrival(self.source, found.key, sums[found.key], found.size_bytes, found.modified_at_utc)
            else:
                yield Skipped(found.key, "was not made by the simulation")

    def open(self, arrival: Arrival) -> BinaryIO:
        """See ``Connector.open``."""
        return self._folder.open(arrival)

    def verify(self, arrival: Arrival, size_bytes: int) -> None:
        """See ``Connector.verify``."""
        if self._sums.get(arrival.key) != arrival.version or size_bytes != arrival.size_bytes:
            raise Unreadable(f"{arrival.key!r} is not what the simulation made: remove {self._home} and run again.")

    @cached_property
    def _sums(self) -> dict[str, str]:
        return {file.key: f"{file.size_bytes}-{file.sha256[:16]}" for file in self.truth.files}

    @property
    def _folder(self) -> Folder:
        return Folder(str(self._home / "devices"))

    @cached_property
    def _home(self) -> Path:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "perception-lake" / "simulated"
        home = Path(self.spool or cache) / f"{quote(self.city, safe='')}-{self.seed}-{self.minutes:g}"
        try:
            if not home.exists():
                self._make(home)
        except OSError as error:
            raise SourceError(f"{self.source} cannot be made in {home}: {error.strerror}.") from error
        return home

    def _make(self, home: Path) -> None:
        """Simulate aside and rename, so that a killed run leaves nothing that looks complete."""
        home.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".making-", dir=home.parent))
        try:
            simulate(aside / "devices", self.seed, self.minutes, aside / "truth.json")
            if not home.exists():
                aside.rename(home)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
