"""``lake engine``: a Spark that stays, for verbs to attach to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobs.cli import EXIT_FINDINGS, Invocation, VerbGroup

if TYPE_CHECKING:
    from lake.engine.warm import Standing
    from lake.settings import Settings


@click.group(cls=VerbGroup)
def command() -> None:
    """A warm Spark on this machine: verbs that need Spark attach to it by themselves."""


@command.command()
@click.pass_obj
def start(invocation: Invocation) -> None:
    """Start the engine, unless it runs, and wait until it answers.

    \b
    lake engine start
    """
    from lake.engine import warm

    _show(invocation, warm.start(_settings(invocation)))


@command.command()
@click.pass_obj
def stop(invocation: Invocation) -> None:
    """End the engine; verbs that are attached to it fail.

    \b
    lake engine stop
    """
    from lake.engine import warm

    pid = warm.stop(_settings(invocation))
    if not invocation.emit({"stopped": pid is not None, "pid": pid}):
        click.echo("no engine runs" if pid is None else f"engine of pid {pid} ended")


@command.command()
@click.pass_obj
def status(invocation: Invocation) -> int:
    """Say whether an engine runs, answers, and is used; exit 3 when it is not.

    \b
    lake engine status
    """
    from lake.engine import warm

    found = warm.standing(_settings(invocation))
    _show(invocation, found)
    return 0 if found.fits else EXIT_FINDINGS


def _settings(invocation: Invocation) -> Settings:
    from lake.settings import load_settings

    return load_settings(invocation.root, invocation.profile)


def _show(invocation: Invocation, found: Standing) -> None:
    document: dict[str, Any] = vars(found)
    if invocation.emit(document):
        return
    if not found.running:
        click.echo(found.detail)
        return
    click.echo(f"engine of pid {found.pid}, port {found.port}: {'answers' if found.answers else 'does not answer'}")
    click.echo(f"  started {found.started_at_utc:%Y-%m-%d %H:%M:%S} UTC, up {found.uptime_s:,.0f} s")
    click.echo(f"  {found.detail}")
