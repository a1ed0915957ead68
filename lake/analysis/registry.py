"""Every analysis the lake ships, by name. Adding one is one file and one line here."""

from __future__ import annotations

from lake.analysis.base import Analysis

ANALYSES: dict[str, Analysis] = {}
