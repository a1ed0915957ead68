"""Jobs that are submitted to clusters: a script of a user's, and the end of the command."""

from __future__ import annotations

import subprocess

SCRIPT = """
import json
import sys

import pyarrow as pa

import lake
from lake.session import build_session
from lake.settings import load_settings
from neighbour import WORD


def say(batches):
    import lake
    from lake.cluster.code import code_files, code_hash
    for batch in batches:
        said = {"lake": lake.__file__, "code": code_hash(code_files()), "python": sys.executable, "word": WORD}
        try:
            import of_the_archive
            said["archive"] = of_the_archive.__file__
        except ImportError:
            pass
        yield pa.record_batch({"said": [json.dumps(said)]})


settings = load_settings()
spark = build_session(settings, "own script")
rows = spark.range(0, 8, numPartitions=8).mapInArrow(say, "said string").collect()
for row in rows:
    print(row.said)
print(json.dumps({"arguments": sys.argv[1:], "root": settings.root, "profile": settings.profile}), file=sys.stderr)
spark.stop()
sys.exit(7)
"""
"""Tells, of each task, which lake, code and Python it has; ends with 7."""


def done(process: subprocess.Popen[str], status: int) -> tuple[str, str]:
    """What a command wrote to stdout and stderr, after it ended with a status."""
    out, said = process.communicate(timeout=200)
    assert process.returncode == status, said
    return out, said
