"""What one recording may cost before it is given up."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

NO_RESULT = "no result within {limit_s:g} s: given up"
"""What is said of who took longer."""


class Limits(BaseModel):
    """Limits for decoding one recording, in the child process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    time_s: float = 60.0
    """Wall time of one probe; an analysis names its own."""
    memory_bytes: int = 4 * 1024**3
    """Address space of the child."""
    output_bytes: int = 256 * 1024**2
    """Largest answer of the child."""
    max_pixels: int = 200_000_000
    """Pictures that declare more are not decoded."""
    max_unpacked_bytes: int = 1024**3
    """Containers that declare or give more are not unpacked."""
