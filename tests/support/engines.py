"""Spark servers for tests: the warm engine in a cache folder of its own, and a server as somebody else starts one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from lake.engine.attach import url
from lake.engine.record import Record, read_record
from lake.settings import Settings, cache_dir, load_settings
from tests.support.lakes import ROOT

NO_JAVA = {"JAVA_HOME": "/nowhere"}
"""In the environment of a verb: what needs a JVM of its own fails."""


@dataclass
class WarmEngine:
    """A warm engine that no engine of the user's meets; started and stopped by ``lake engine``."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / "cache").mkdir(parents=True)
        (self.folder / "cache" / "jars").symlink_to(cache_dir() / "jars")

    @property
    def variables(self) -> dict[str, str]:
        return {"LAKE_CACHE": str(self.folder / "cache"), **self.environ}

    @property
    def settings(self) -> Settings:
        return load_settings(str(self.folder / "lake"), environ={**os.environ, **self.variables})

    @property
    def record(self) -> Record:
        found = read_record(self.settings)
        assert found is not None, "no engine runs"
        return found

    @property
    def url(self) -> str:
        return url(self.record)

    def lake(
        self,
        *arguments: str,
        code: Path = ROOT,
        cwd: Path = ROOT,
        expect: int = 0,
        environ: Mapping[str, str] | None = None,
    ) -> tuple[dict[str, Any], str]:
        """Run a verb with ``--json`` beside this engine: its document and what it said on stderr."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", "jobs.cli", *arguments, "--json"],
            env={**os.environ, **self.variables, **(environ or {}), "PYTHONPATH": str(code)},
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == expect, f"{arguments} ended with {done.returncode}: {done.stderr[-2000:]}"
        return json.loads(done.stdout), done.stderr

    def __enter__(self) -> WarmEngine:
        self.lake("engine", "start")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.lake("engine", "stop")


OTHERS = """
import os, sys
from lake.session import SERVES, spark_conf
from lake.settings import load_settings
from pyspark.sql import SparkSession
conf = spark_conf(load_settings("/tmp"), s3=False) if "lake" in sys.argv else {"spark.ui.enabled": "false"}
conf |= {key: value for key, value in SERVES.items() if "isolation" not in key}
# Its workers see nothing of this checkout.
os.environ["PYTHONPATH"] = ""
os.environ["PYSPARK_PYTHON"] = sys.executable
builder = SparkSession.builder.master("local[2]")
for key, value in conf.items():
    builder = builder.config(key, value)
spark = builder.getOrCreate()
from lake.session import served
print(served(spark)[0], flush=True)
sys.stdin.read()
spark.stop()
"""


class OthersServer:
    """A Spark Connect server that the lake did not start: with the lake's settings and JARs, or bare."""

    TOKEN = "a-token-of-the-test"

    def __init__(self, *, with_lake: bool) -> None:
        self.with_lake = with_lake

    def __enter__(self) -> str:
        """Its address."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", OTHERS, *(["lake"] if self.with_lake else [])],
            env={**os.environ, "PYTHONPATH": str(ROOT), "SPARK_CONNECT_AUTHENTICATE_TOKEN": self.TOKEN},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            text=True,
        )
        assert self._process.stdout is not None
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            line = self._process.stdout.readline()
            if line.strip().isdigit():
                return f"sc://localhost:{line.strip()}/;token={self.TOKEN}"
            assert line or self._process.poll() is None, "the server did not start"
        raise AssertionError("the server did not start")

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
