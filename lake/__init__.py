"""A lake for recordings: audio, video, images and documents on Spark, Delta and MinIO."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lake.catalog.open import Lake

__version__ = "0.1.0"
__all__ = ["__version__", "open"]


def open(root: str | None = None, profile: str | None = None) -> Lake:
    """Open a lake for reading: a folder or ``s3://bucket/prefix``; the default is what the command takes."""
    from lake.catalog.open import open_lake

    return open_lake(root, profile)
