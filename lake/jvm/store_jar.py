"""Where the jar of the lake's LogStore lies; built from the sources beside it by ``lake.jvm.build``."""

from __future__ import annotations

from pathlib import Path

STORE_JAR = Path(__file__).with_name("lake-logstore.jar")
