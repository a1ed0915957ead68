"""Creating an empty lake: bucket, tables, marker."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lake.errors import NotFound
from lake.schema import BRONZE, SCHEMA_VERSION
from lake.tables import Tables

if TYPE_CHECKING:
    from lake.settings import Settings
    from lake.store.objects import ObjectStore

MARKER = "lake.json"
"""Object at the root that says: this is a lake, of this format. Written last."""


@dataclass(frozen=True)
class Created:
    """One thing ``init`` looked at."""

    name: str
    ok: bool
    detail: str


def create_lake(settings: Settings, tables: Tables, store: ObjectStore, *, dry_run: bool = False) -> list[Created]:
    """Create what is missing of a lake; a second call creates nothing. Runs on the driver.

    Raises:
        PolicyRefused: the settings or the store would let two writers win one commit; no table was created.
    """
    # Here, because every verb imports this module and only this one needs them.
    from lake.session import COMMITS, require_safe_conf
    from lake.store.probe import require_safe_commits

    require_safe_conf(COMMITS | settings.spark.conf)
    results: list[Created] = []
    if settings.is_s3:
        results.append(_bucket(settings, dry_run))
        if not dry_run:
            results.append(Created("commit-safety", True, require_safe_commits(store)))
    for name, schema in BRONZE.items():
        there = False if dry_run and not is_lake(store) else tables.exists(name)
        if not there and not dry_run:
            tables.create(name, schema)
        results.append(Created(name, True, "there already" if there else "would be created" if dry_run else "created"))
    if not dry_run:
        store.put_if_absent(MARKER, json.dumps({"format": SCHEMA_VERSION, "project": "perception-lake"}).encode())
    return results


def is_lake(store: ObjectStore) -> bool:
    """Whether there is a lake at all."""
    try:
        store.get(MARKER)  # and not ``stat``, which is told no reason when the store refuses
    except NotFound:
        return False
    return True


def require_lake(store: ObjectStore) -> None:
    """Raise ``NotFound`` when the root holds no lake."""
    if not is_lake(store):
        raise NotFound(f"no lake at {store.root}: run `lake --root {store.root} init` first, or check --root")


def _bucket(settings: Settings, dry_run: bool) -> Created:
    from lake.store.buckets import bucket_of, ensure_bucket

    bucket = bucket_of(settings.root)
    if dry_run:
        return Created("bucket", True, f"would be created unless there: {bucket}")
    return Created("bucket", True, "created" if ensure_bucket(settings.s3, bucket) else "there already")
