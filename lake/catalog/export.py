"""Recordings out of the lake into a folder: verified, under their own names, never outside the folder."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import pyarrow as pa
import pyarrow.compute as pc

from lake.catalog.read import open_content
from lake.catalog.selection import naming_column
from lake.errors import LakeError, NotFound
from lake.model import BlobRef, Row
from lake.store.blobs import stored_blobs
from lake.tables import Tables

if TYPE_CHECKING:
    from lake.store.objects import ObjectStore

CHUNK_BYTES = 1024 * 1024
_UNSAFE = re.compile(rb"[\x00-\x1f]")
MAX_NAME_BYTES = 200


@dataclass(frozen=True)
class Exported:
    """What one export wrote."""

    files: int
    bytes: int


def export_recordings(
    tables: Tables, store: ObjectStore, chosen: pa.Table, dest: Path, *, dry_run: bool = False
) -> Exported:
    """Write the recordings named by column ``asset_id`` (or ``sha256``) of ``chosen`` below ``dest``.

    A file is written beside and renamed, so a name under ``dest`` is a whole, verified recording. Runs on the driver.
    """
    assets = _assets(tables, chosen)
    size_bytes = sum(asset["size_bytes"] or 0 for asset in assets)
    if not dry_run:
        blobs = stored_blobs(tables.dataset("blobs"), (asset["sha256"] for asset in assets))
        for asset in assets:
            if asset["sha256"] not in blobs:
                raise NotFound(f"no blob {asset['sha256']} of {asset['path']} in {tables.root}")
            _write(store, blobs[asset["sha256"]].ref, target_path(dest, asset["path"], asset["asset_id"]))
    return Exported(len(assets), size_bytes)


def _write(store: ObjectStore, ref: BlobRef, target: Path) -> None:
    partial = target.with_name(target.name + ".partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_content(store, ref) as source, partial.open("wb") as out:
            while chunk := source.read(CHUNK_BYTES):
                out.write(chunk)
        partial.replace(target)
    except OSError as error:
        raise LakeError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _assets(tables: Tables, chosen: pa.Table) -> list[Row]:
    column = naming_column(chosen, ("asset_id", "sha256"), '`lake export "SELECT asset_id FROM assets" DEST`')
    wanted = pc.field(column).isin(pc.unique(chosen.column(column)).cast(pa.string()))
    columns = ["asset_id", "sha256", "path", "size_bytes"]
    rows: Iterable[Row] = tables.dataset("assets").to_table(columns=columns, filter=wanted).to_pylist()
    return sorted(rows, key=lambda row: (row["path"], row["asset_id"]))


def target_path(dest: Path, key: str, asset_id: str) -> Path:
    """Where a recording is written: its own path below ``dest``, the asset id in the name so that none hides another.

    Parts that would leave the folder, control characters and over-long names are made harmless.
    """
    parts = [part for part in unquote_to_bytes(key).split(b"/") if part not in (b"", b".", b"..")]
    clean = [os.fsdecode(_UNSAFE.sub(b"_", part)[:MAX_NAME_BYTES]) for part in parts] or ["recording"]
    stem, dot, suffix = clean[-1].rpartition(".")
    name = f"{stem}.{asset_id[:8]}.{suffix}" if dot and stem else f"{clean[-1]}.{asset_id[:8]}"
    return dest.joinpath(*clean[:-1], name)
