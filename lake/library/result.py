"""What a build of a library found and did, and how it stands in ``library_versions``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lake.library.quality import Finding
from lake.library.spec import Theme
from lake.model import Row


@dataclass
class TableResult:
    """One table of a build."""

    rows: int
    added: int
    changed: int
    removed: int
    findings: list[Finding]
    delta_version: int | None
    """At which it is published; None while it is not written."""
    to_write: bool

    @classmethod
    def recorded(cls, row: Row) -> TableResult:
        """A published table that a build leaves as it is."""
        return cls(row["rows"], 0, 0, 0, recorded_findings(row), row["delta_version"], False)

    def document(self) -> dict[str, int]:
        return {"rows": self.rows, "added": self.added, "changed": self.changed, "removed": self.removed}


@dataclass
class Result:
    """What a build found and did."""

    name: str
    version: int
    """Published by this build; of a dry run the one it would publish; without a change the one that stands."""
    tables: dict[str, TableResult] = field(default_factory=dict)
    inputs: dict[str, int | None] = field(default_factory=dict)
    changed: bool = False
    """Whether there is anything to publish."""
    published: bool = False

    @property
    def findings(self) -> list[Finding]:
        return [finding for table in self.tables.values() for finding in table.findings]

    @property
    def broken(self) -> list[Finding]:
        """What forbids a publication."""
        return [finding for finding in self.findings if finding.severity == "error" and not finding.ok]

    def document(self) -> dict[str, Any]:
        """The fields of ``lake library build --json``."""
        return {
            "name": self.name,
            "version": self.version,
            "tables": {name: table.document() for name, table in self.tables.items()},
            "quality": {"rules": [finding.document() for finding in self.findings]},
            "inputs": self.inputs,
            "changed": self.changed,
            "published": self.published,
        }

    def version_rows(self, theme: Theme, run_id: str, at: datetime) -> list[Row]:
        """The rows of ``library_versions`` that publish it."""
        return [
            {
                "library": theme.name,
                "version": self.version,
                "table": name,
                "delta_version": table.delta_version,
                **table.document(),
                "quality": _quality(table.findings),
                "spec_hash": theme.spec_hash(),
                "inputs": json.dumps(self.inputs, sort_keys=True),
                "built_at_utc": at,
                "run_id": run_id,
            }
            for name, table in self.tables.items()
        ]


def _quality(findings: list[Finding]) -> str:
    return json.dumps({"rules": [finding.document() for finding in findings]}, ensure_ascii=False)


def recorded_findings(row: Row) -> list[Finding]:
    """What the rules said when a row of ``library_versions`` was published."""
    return [Finding(**finding) for finding in json.loads(row["quality"])["rules"]]
