"""What a submitted job says goes to the stderr of its JVM, unless both would write over each other there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = "import os\nfrom jobs.driver import _take_stderr_back\n_take_stderr_back()\nos.write(2, b'from the driver')"
JVM = f"""
import subprocess, sys
said = subprocess.run([sys.executable, "-c", {CHILD!r}], stderr=subprocess.PIPE).stderr
sys.stdout.buffer.write(said)
"""
"""Stands in for it: it has a stderr, and merges that of the driver into its stdout."""


@pytest.mark.parametrize(("mode", "taken"), [("ab", True), ("wb", False)])
def test_a_file_is_written_to_only_where_all_append(tmp_path: Path, mode: str, taken: bool) -> None:
    path = tmp_path / "stderr"
    with path.open(mode) as stderr:
        done = subprocess.run(
            [sys.executable, "-c", JVM],
            env={**os.environ, "PYSPARK_GATEWAY_PORT": "1"},
            stdout=subprocess.PIPE,
            stderr=stderr,
            check=True,
        )
    said = (path.read_bytes(), done.stdout)
    assert said == ((b"from the driver", b"") if taken else (b"", b"from the driver"))


def test_a_pipe_is_taken() -> None:
    done = subprocess.run(
        [sys.executable, "-c", JVM],
        env={**os.environ, "PYSPARK_GATEWAY_PORT": "1"},
        capture_output=True,
        check=True,
    )
    assert (done.stderr, done.stdout) == (b"from the driver", b"")
