"""The lake's own runner, as the command that a user types, and a checksum over what the feature table has then.

python -m tests.bench.compute_lake ANALYSIS ROOT ENGINE     prints JSON {records, seconds, digest}
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from jobs.cli import Invocation
from jobs.context import open_job
from lake.analysis.base import Analysis
from tests.bench import process
from tests.bench.compute_contest import FAILED, MEASURED, digest, result_schema, result_text
from tests.bench.measured_analyses import FRAME_HASH, LOG_MEL

FILE = Path(__file__).with_name("measured_analyses.py")


def main() -> None:
    name, root, engine = sys.argv[1:4]
    own = ("--module", str(FILE)) if name in (LOG_MEL.name, FRAME_HASH.name) else ()
    done = process.run("jobs.cli", "--root", root, "analyze", name, *own, "--engine", engine, "--json")
    counts = done.document["analyses"][name]
    found = results(root, MEASURED[name])
    assert counts["done"] + counts["failed"] == len(found)
    print(json.dumps({"records": len(found), "seconds": done.wall_s, "digest": digest(found)}))


def results(root: str, analysis: Analysis) -> list[tuple[str, str]]:
    """What the tables say of each content."""
    tables = open_job(Invocation(root=root, json=True)).tables
    wanted = result_schema(analysis).names
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in tables.dataset(analysis.table).to_table(columns=["sha256", *wanted]).to_pylist():
        found = {column: row[column] for column in wanted}
        # A content in which nothing was found has one row of nulls.
        rows[row["sha256"]] += [found] if any(value is not None for value in found.values()) else []
    failed = tables.dataset("quarantine").to_table().to_pylist()
    texts = [(sha256, result_text(analysis, each)) for sha256, each in rows.items()]
    return texts + [(row["sha256"], FAILED) for row in failed if row["analysis"] == analysis.name]


if __name__ == "__main__":
    main()
