"""What a simulation really put on disk: the answers that an ingest and its analyses are checked against."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lake.model import ArrivalState, MediaKind

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True)
class File:
    """One delivered file and the state it must end in."""

    device_id: str
    key: str
    """Key of its arrival below the simulated folder."""
    sha256: str
    size_bytes: int
    media_kind: MediaKind
    captured_at_utc: datetime
    duration_s: float | None = None
    state: ArrivalState = "landed"
    reason: str | None = None
    """What was done to it, when it is no good recording of its own."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A span a device recorded and never delivered."""

    device_id: str
    start_utc: datetime
    end_utc: datetime


@dataclass(frozen=True, slots=True)
class ShotChange:
    """A camera turned elsewhere: the first frame of the new view."""

    key: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Burst:
    """A sound above the background of a recording."""

    key: str
    start_s: float
    end_s: float
    kind: Literal["voice", "tone"]


@dataclass(frozen=True, slots=True)
class Page:
    """Text of one page of a document, as it was written; ``page`` counts from 1."""

    key: str
    page: int
    text: str


@dataclass(frozen=True, slots=True)
class Truth:
    """Everything that is known about a simulated folder. Times are UTC, the devices' clock errors taken out."""

    seed: int
    minutes: float
    files: tuple[File, ...]
    gaps: tuple[Gap, ...]
    shot_changes: tuple[ShotChange, ...]
    bursts: tuple[Burst, ...]
    pages: tuple[Page, ...]

    def states(self) -> Counter[str]:
        """How many arrivals must end in which state."""
        return Counter(file.state for file in self.files)

    def save(self, path: Path) -> None:
        """Write it as JSON; never inside the folder it tells about."""
        path.write_bytes(_adapter().dump_json(self, indent=1))

    @staticmethod
    def load(path: Path) -> Truth:
        """What ``save`` wrote."""
        return _adapter().validate_json(path.read_bytes())


def _adapter() -> TypeAdapter[Truth]:
    # Made when asked for: every worker of an ingest imports this module, and none of them reads a truth.
    from pydantic import TypeAdapter

    return TypeAdapter(Truth)
