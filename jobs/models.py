"""``lake models``: the registry of models, and which ones a run takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.cli import EXIT_FINDINGS, Invocation, VerbGroup
from lake.errors import UsageError

if TYPE_CHECKING:
    from jobs.context import Job
    from lake.models.base import Model


@click.group(cls=VerbGroup)
def command() -> None:
    """Models that analyses use: registered in the lake, with licence and checksums."""


@command.command()
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--licence", required=True, help="Licence of the weights, such as MIT or Apache-2.0.")
@click.option("--dry-run", is_flag=True, help="Look at the folder and load the model, and write nothing.")
@click.pass_obj
def add(invocation: Invocation, name: str, folder: Path, licence: str, dry_run: bool) -> None:
    """Register the model in a folder as the next version of a name; the same bytes again change nothing.

    \b
    lake models add asr/whisper-small ./whisper-small --licence MIT
    """
    from jobs.context import open_job

    document = add_model(open_job(invocation), invocation, name, folder, licence, dry_run=dry_run)
    if not invocation.emit(document):
        said = "would be added" if dry_run else "added" if document["added"] else "is registered already"
        click.echo(
            f"{document['uri']} {said}: {document['task']}, {document['format']}, {len(document['files'])} files,"
            f" {document['size_bytes']:,} bytes, hash {document['model_hash'][:12]}"
        )


@command.command("list")
@click.pass_obj
def list_(invocation: Invocation) -> None:
    """The registered models and their versions.

    \b
    lake models list
    """
    from jobs.context import open_job
    from jobs.sql import print_rows
    from lake.models.registry import list_models

    rows = list_models(open_job(invocation).tables)
    if not invocation.emit({"rows": rows}):
        columns = ["name", "version", "task", "format", "licence", "size_bytes", "model_hash", "added_at_utc"]
        print_rows(columns, rows)


@command.command()
@click.argument("name")
@click.pass_obj
def show(invocation: Invocation, name: str) -> None:
    """One version of a model with its files; without a version the newest.

    \b
    lake models show asr/whisper-small@3
    """
    from jobs.context import open_job
    from jobs.sql import print_rows

    (row,) = _rows(open_job(invocation), [name], newest=True)
    if not invocation.emit(row):
        print_rows(["field", "value"], [{"field": key, "value": row[key]} for key in row if key != "files"])
        print_rows(["path", "size_bytes", "sha256"], row["files"])


@command.command()
@click.argument("names", nargs=-1)
@click.pass_obj
def verify(invocation: Invocation, names: tuple[str, ...]) -> int:
    """Read every byte of all (or the named) models and compare it with its checksum; exit 3 when one is hurt.

    \b
    lake models verify
    lake models verify asr/whisper-small@3
    """
    from jobs.context import open_job
    from lake.models.registry import object_problems, of_row

    job = open_job(invocation)
    found = []
    for model in map(of_row, _rows(job, names, newest=False)):
        problems = object_problems(job.store, model.place, model.files)
        found.append({"uri": model.uri, "ok": not problems, "problems": problems})
    if not invocation.emit({"models": found}):
        for each in found:
            click.echo(f"{each['uri']}: {'; '.join(each['problems']) or 'every byte is as it was registered'}")
    return 0 if all(each["ok"] for each in found) else EXIT_FINDINGS


def add_model(
    job: Job, invocation: Invocation, name: str, folder: Path, licence: str, *, dry_run: bool = False
) -> dict[str, Any]:
    """Look at a model, load it once in a child, register it as a recorded run; return the verb's document."""
    from jobs.context import recorded, utc_now
    from lake.models.registry import add as register
    from lake.models.registry import examined, facts_of

    started = utc_now()
    model = examined(name, folder)
    require_loadable(job, model, folder)
    facts = facts_of(model, licence)
    if dry_run:
        return {"run_id": None, "uri": model.uri, "name": name, "version": None, "added": False, **facts}
    with recorded(job, invocation, "models add", exclusive=[f"model {name}"]) as run:
        added = register(job.store, job.tables, name, model, licence, run.run_id, utc_now(), job.staging_dir)
        run.stage(
            "models add",
            rows_in=1,
            rows_out=int(added.new),
            rows_failed=0,
            size_bytes=facts["size_bytes"] if added.new else 0,
            seconds=(utc_now() - started).total_seconds(),
        )
    said = {"uri": added.model.uri, "name": name, "version": added.version, "added": added.new}
    return {"run_id": run.run_id, **said, **facts}


def require_loadable(job: Job, model: Model, folder: Path) -> None:
    """Load a model in a child as an analysis does, and end the child; ``ModelError`` says why it cannot be loaded."""
    from lake.analysis.models import load
    from lake.media.sandbox import Sandbox
    from lake.models.loaded import entry_of

    with Sandbox(job.settings.limits) as sandbox:
        load(sandbox, [entry_of(model, folder.absolute(), "cpu")])


def _rows(job: Job, names: Sequence[str], *, newest: bool) -> list[dict[str, Any]]:
    """Rows of the named versions; of a name without version the newest, or every one; all when none is named."""
    from lake.models.registry import find, list_models
    from lake.models.uri import parse_registered

    if not names:
        return list_models(job.tables)
    found: list[dict[str, Any]] = []
    for name in names:
        wanted = parse_registered(name.removeprefix("lake:"))
        rows = list_models(job.tables, wanted.name)
        if wanted.version is None and rows:
            found += rows[-1:] if newest else rows
        else:
            found.append(find(job.tables, wanted))
    return found


def with_choice(job: Job, models: Sequence[str], device: str | None) -> Job:
    """A job whose settings take these models (``ANALYSIS=URI``) and this device instead of the profile's."""
    named: dict[str, list[str]] = {}
    for text in models:
        analysis, equals, uri = text.partition("=")
        if not equals or not analysis or not uri:
            raise UsageError(f"--model {text!r}: write ANALYSIS=URI, such as transcript=lake:asr/whisper-small@3")
        named.setdefault(analysis, []).append(uri)
    analysis_settings = job.settings.analysis
    change = {"models": {**analysis_settings.models, **named}, "device": device or analysis_settings.device}
    changed = analysis_settings.model_copy(update=change)
    return replace(job, settings=job.settings.model_copy(update={"analysis": changed}))


def resolver(job: Job) -> Callable[[str], Model]:
    """What finds the models of a run in this lake; each is checked once."""
    from functools import cache

    from lake.models.resolve import resolve

    return cache(lambda uri: resolve(uri, job.tables, job.store, job.settings.cache_dir))
