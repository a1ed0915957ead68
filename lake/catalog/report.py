"""``lake report``: one HTML page of the whole lake that works offline."""

from __future__ import annotations

import os
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lake import __version__
from lake.catalog import report_data, report_pictures
from lake.catalog.report_coverage import BUCKETS, GAP_S, coverage
from lake.catalog.report_tables import Snapshot
from lake.errors import LakeError, UsageError
from lake.media.sandbox import Sandbox
from lake.model import Device
from lake.tables import Tables

if TYPE_CHECKING:
    from lake.settings import Settings
    from lake.store.objects import ObjectStore


def write_report(tables: Tables, store: ObjectStore, settings: Settings, output: Path) -> Path:
    """Write the page of a lake to ``output``, whole or not at all, and return its path."""
    if not output.parent.is_dir():
        raise UsageError(f"{output} cannot be written: {output.parent} is no folder")
    page = render(report_values(tables, store, settings))
    beside = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(page, encoding="utf-8")
        beside.replace(output)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)
    return output


def report_values(tables: Tables, store: ObjectStore, settings: Settings) -> dict[str, Any]:
    """Everything that the template names; each part is bounded."""
    with Sandbox(settings.limits) as sandbox, Snapshot(tables) as snapshot:
        sandbox.start()
        groups, listed = report_data.quarantine(snapshot)
        return {
            "root": tables.root,
            "made_at_utc": datetime.now(UTC),
            "lake_version": __version__,
            "known": _known_devices(settings.conf_dir / "devices"),
            "totals": report_data.totals(snapshot),
            "devices": report_data.devices(snapshot),
            "kinds": report_data.kinds(snapshot),
            "analyses": report_data.analyses(snapshot),
            "coverage": coverage(snapshot),
            "buckets": BUCKETS,
            "gap_s": GAP_S,
            "wave_buckets": report_pictures.BUCKETS,
            **_pictures(snapshot, tables, store, sandbox),
            "quarantine_groups": groups,
            "quarantine": listed,
            "libraries": report_data.libraries(snapshot),
            "runs": report_data.runs(snapshot),
        }


def _pictures(snapshot: Snapshot, tables: Tables, store: ObjectStore, sandbox: Sandbox) -> dict[str, Any]:
    none = report_pictures.NOTHING
    there = {name.removeprefix("feature_") for name in snapshot.names if name.startswith("feature_")}
    sampled = bool(there & {"keyframes", "image_hash"})
    with Snapshot(tables, sampled=True) if sampled else nullcontext(snapshot) as sample:
        return {
            "analysed": there,
            "keyframes": report_pictures.keyframes(snapshot, sample) if "keyframes" in there else none,
            "images": report_pictures.images(snapshot, sample) if "image_hash" in there else none,
            "waveforms": report_pictures.waveforms(snapshot, store, sandbox),
            "pages": report_pictures.first_pages(snapshot, store, sandbox),
        }


def _known_devices(folder: Path) -> dict[str, Device]:
    """Devices as their files describe them; a page needs no right file to be made."""
    from lake.ingest.devices import load_devices

    with suppress(LakeError, OSError):
        return load_devices(folder)
    return {}


def render(values: dict[str, Any]) -> str:
    """The page of these values. Every text in it is escaped; the page allows itself no script and no address."""
    from jinja2 import Environment, StrictUndefined

    from lake.catalog.report_text import FILTERS, finalize

    folder = resources.files("lake.catalog")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=finalize
    )
    environment.filters.update(FILTERS)
    template = environment.from_string(folder.joinpath("report.html.j2").read_text("utf-8"))
    return template.render(**values, css=folder.joinpath("report.css").read_text("utf-8"))
