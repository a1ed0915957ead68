"""The ``lake`` command: parse, call the lake, report. Every verb is a file here; heavy imports wait for its call."""

from __future__ import annotations

import base64
import difflib
import importlib
import json
import logging
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import click

from lake.errors import LakeError, UsageError, is_interrupt
from lake.memory import keep_flat

VERBS = {
    "init": "jobs.init",
    "doctor": "jobs.doctor",
    "ingest": "jobs.ingest",
    "analyze": "jobs.analyze",
    "models": "jobs.models",
    "library": "jobs.library",
    "sql": "jobs.sql",
    "cat": "jobs.cat",
    "export": "jobs.export",
    "quarantine": "jobs.quarantine",
    "runs": "jobs.runs",
    "report": "jobs.report",
    "store": "jobs.store",
    "maintain": "jobs.maintain",
    "engine": "jobs.engine",
    "demo": "jobs.demo",
    "bench": "jobs.bench",
    "submit": "jobs.submit",
}
"""Verb to module; each module has one click command named ``command``."""

EXIT_FINDINGS = 3
EXIT_RECORDS_FAILED = 5
EXIT_INTERRUPTED = 130


@dataclass
class Invocation:
    """The options that every verb has."""

    root: str | None = None
    profile: str | None = None
    json: bool = False
    debug: bool = False
    argv: list[str] = field(default_factory=list)

    def emit(self, document: dict[str, Any]) -> bool:
        """Print the one JSON document of a verb when asked to; False when the caller is to print for a person."""
        if self.json:
            click.echo(json_text(document))
        return self.json


def json_text(value: Any) -> str:
    """JSON as every reader takes it: times in ISO 8601, bytes in base64, decimals, NaN and infinity as text."""
    from connectors.keys import readable

    return readable(json.dumps(_plain(value), ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _not_finite(value)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


class Verb(click.Command):
    """A verb: also takes the common options after its name, where people type them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _common_options()


class _Named(click.Group):
    """A group that names the nearest verb when one is mistyped."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            known = self.list_commands(ctx)
            near = difflib.get_close_matches(args[0], known, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise click.UsageError(f"no verb {args[0]!r}: {hint}", ctx)
        return super().resolve_command(ctx, args)


def own_analyses(help: str) -> Callable[[Any], Any]:
    """The option ``--module FILE`` of the verbs that know analyses of a user's own."""
    path = click.Path(exists=True, dir_okay=False)
    return click.option("--module", "modules", multiple=True, type=path, help=help)


def model_choice(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The options ``--model`` and ``--device`` of the verbs that run analyses, for ``jobs.models.with_choice``."""
    chosen = "Model for an analysis; repeatable."
    device = click.Choice(["cpu", "cuda", "auto"])
    verb = click.option("--device", type=device, help="On what models compute; default: cpu.")(verb)
    return click.option("--model", "models", metavar="ANALYSIS=URI", multiple=True, help=chosen)(verb)


class VerbGroup(_Named):
    """A verb with sub-verbs (``library list``); they take the common options too."""

    command_class = Verb

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _common_options()


class Lazy(_Named):
    """Loads a verb's module when the verb is called or its help is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(VERBS[cmd_name]).command
        assert isinstance(command, click.Command)  # noqa: S101
        return command


def _common_options() -> list[click.Parameter]:
    def put(name: str) -> Any:
        def callback(ctx: click.Context, param: click.Parameter, value: Any) -> None:
            if value not in (None, False):
                setattr(ctx.find_root().obj, name, value)

        return callback

    return [
        click.Option(
            ["--root"],
            metavar="URI",
            expose_value=False,
            callback=put("root"),
            help="Folder or s3://bucket/prefix (LAKE_ROOT; default ./lake-data).",
        ),
        click.Option(
            ["--profile"],
            metavar="NAME",
            expose_value=False,
            callback=put("profile"),
            help="Settings profile (LAKE_PROFILE; default local).",
        ),
        click.Option(
            ["--json"], is_flag=True, expose_value=False, callback=put("json"), help="One JSON document on stdout."
        ),
        click.Option(
            ["--debug"],
            is_flag=True,
            expose_value=False,
            callback=put("debug"),
            help="Show the stack trace of an error.",
        ),
    ]


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="perception-lake")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """A lake for recordings: audio, video, images and documents.

    \b
    lake init                     create an empty lake in ./lake-data
    lake ingest /data/cameras     land what is new in a folder
    lake analyze                  run the analyses on what lacks a result
    lake library build site_watch build a thematic library
    lake report                   one HTML page of all of it
    """


cli.params += _common_options()


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``lake``: errors become one line and an exit status (see DESIGN §9)."""
    keep_flat()
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Read before parsing: a command line that cannot be parsed is answered by one JSON document too.
    asked = "--json" in arguments[: arguments.index("--") if "--" in arguments else None]
    invocation = Invocation(argv=arguments, json=asked)
    signal.signal(signal.SIGTERM, _interrupt)
    if "--debug" not in arguments:
        # What libraries log besides raising it: py4j a stack trace at Ctrl-C, for one.
        logging.basicConfig(level=logging.CRITICAL)
    try:
        status = cli.main(args=arguments, prog_name="lake", standalone_mode=False, obj=invocation)
        sys.exit(status if isinstance(status, int) else 0)
    except (click.exceptions.Abort, KeyboardInterrupt):
        _end("interrupted", EXIT_INTERRUPTED, invocation)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        _end(f"name a verb of `{error.ctx.command_path if error.ctx else 'lake'}`", UsageError.exit_status, invocation)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "lake"
        said = error.format_message().rstrip(".")
        _end(f"{said} (see `{path} --help`)", UsageError.exit_status, invocation)
    except click.ClickException as error:
        _end(error.format_message(), 1, invocation)
    except LakeError as error:
        _end(str(error), error.exit_status, invocation)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        _end(f"unexpected {said[:500]}; run again with --debug for the stack trace", 1, invocation)


def _interrupt(signum: int, frame: object) -> NoReturn:
    """A scheduler ends a job by SIGTERM: the run is recorded as interrupted, as with Ctrl-C."""
    raise KeyboardInterrupt


def _end(message: str, status: int, invocation: Invocation) -> NoReturn:
    from connectors.keys import readable

    if is_interrupt(sys.exception()):
        message, status = "interrupted", EXIT_INTERRUPTED
    if invocation.debug:
        traceback.print_exc()
    line = readable(" ".join(message.split()))
    click.echo(f"lake: {line}", err=True)
    if invocation.json:
        click.echo(json_text({"error": line, "exit": status}))
    sys.exit(status)


if __name__ == "__main__":
    main()
