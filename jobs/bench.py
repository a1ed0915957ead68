"""``lake bench``: measure this machine with the benchmark of a checkout."""

from __future__ import annotations

import click

from jobs.cli import Invocation, Verb


@click.command(cls=Verb)
@click.argument("parts", nargs=-1)
@click.option(
    "--repeats", type=click.IntRange(min=1), help="How often each time is taken (3 times; the part long: once)."
)
@click.option("--sounds", help="How many sounds the parts others (600) and long (80000) analyse: 600,2400.")
@click.option("--page", is_flag=True, help="Put the tables into docs/bench.md.")
@click.pass_obj
def command(invocation: Invocation, parts: tuple[str, ...], repeats: int | None, sounds: str | None, page: bool) -> int:
    """Measure the lake beside a bare loop, plain PySpark, Daft and Ray, on lakes of its own.

    \b
    lake bench compute
    lake bench films incremental --repeats 1
    lake bench others --sounds 600,2400
    """
    import importlib.util
    import subprocess
    import sys
    from pathlib import Path

    from lake.errors import UsageError

    checkout = Path(__file__).resolve().parents[1]
    if not (checkout / "tests" / "bench" / "__main__.py").exists() or not importlib.util.find_spec("psutil"):
        raise UsageError("the benchmark is part of a checkout with its test packages: run `make setup-test` in one")
    words = [*parts, *([] if page else ["--no-page"])]
    words += [*(["--repeats", str(repeats)] if repeats else []), *(["--sounds", sounds] if sounds else [])]
    return subprocess.run([sys.executable, "-m", "tests.bench", *words], cwd=checkout, check=False).returncode  # noqa: S603
