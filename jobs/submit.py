"""``lake submit``: a verb, or a script of one's own, by ``spark-submit`` with everything it needs."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.cli import VERBS, Invocation, Verb
from lake.errors import UsageError

if TYPE_CHECKING:
    from lake.cluster.submission import Submission
    from lake.settings import Settings

NOT_SUBMITTED = ("submit", "demo")


@click.command(cls=Verb, context_settings={"ignore_unknown_options": True})
@click.option("--dry-run", is_flag=True, help="Print the command line and run nothing.")
@click.argument("job")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def command(invocation: Invocation, dry_run: bool, job: str, arguments: tuple[str, ...]) -> int:
    """Run JOB, a verb or a script.py, on the profile's cluster; exit as it does.

    Code, JARs, settings and packages go along. Options of this verb are taken wherever they stand; what follows
    -- belongs to the job.

    \b
    lake submit ingest s3://drop-zone/2026 --profile cluster
    lake submit library build site_watch --profile cluster
    lake submit my_report.py --profile cluster -- --month 3
    """
    from lake.settings import load_settings

    words = _job_line(job, arguments)
    settings = load_settings(invocation.root, invocation.profile)
    is_verb = not job.endswith(".py")
    job_line = [job, "--json", *arguments] if invocation.json and is_verb else words
    submission = make_submission(settings, job_line, make=not dry_run)
    if dry_run:
        document = {"command": submission.command, "environment": submission.environment}
        if not invocation.emit(document):
            click.echo(shlex.join(submission.command))
        return 0
    return _run(invocation, submission, words, is_verb=is_verb)


def _job_line(job: str, arguments: tuple[str, ...]) -> list[str]:
    """The job's own words, refused here where nothing could run them."""
    if job.endswith(".py"):
        if not Path(job).is_file():
            raise UsageError(f"no script {job}: name a .py file, or a verb")
        return [str(Path(job).absolute()), *arguments]
    if job in NOT_SUBMITTED:
        raise UsageError(f"{job} runs here only: `lake {job}`")
    if job not in VERBS:
        raise UsageError(f"no verb {job!r}: name one of {', '.join(v for v in VERBS if v not in NOT_SUBMITTED)}")
    return [job, *arguments]


def make_submission(settings: Settings, job: list[str], *, make: bool) -> Submission:
    """The submission of a job; ``make`` the files it sends along where they are missing, or only name them."""
    from lake.cluster.code import code_zip
    from lake.cluster.packing import conf_archive, environment_archive
    from lake.cluster.resources import manager_of
    from lake.cluster.submission import Shipment, spark_home, submission
    from lake.session import require_safe_conf, spark_conf

    spark, cache = settings.spark, settings.cache_dir
    in_cluster, is_local = spark.deploy_mode == "cluster", manager_of(spark.master) == "local"
    shipment = Shipment(
        launcher=Path(__file__).with_name("driver.py"),
        code=code_zip(cache / "code", make=make) if spark.ship_code and not is_local else None,
        environment=environment_archive(spark.environment, cache / "environments", make=make)
        if spark.environment and not is_local
        else None,
        conf=conf_archive(settings.conf_dir, cache / "code", make=make) if in_cluster else None,
    )
    conf = spark_conf(settings, s3=settings.is_s3)
    require_safe_conf(conf)
    return submission(settings, conf, spark_home(), shipment, job, os.environ)


def _run(invocation: Invocation, submission: Submission, job: list[str], *, is_verb: bool) -> int:
    from lake.cluster.following import follow

    started = time.monotonic()
    # With --json stdout has one document, ours: what a script prints goes where progress goes.
    stdout = (subprocess.PIPE if is_verb else 2) if invocation.json else None
    followed = follow(submission, _tell, stdout=stdout)
    status = followed.exit_status or 0
    invocation.emit(
        {
            "job": job[0],
            "arguments": job[1:],
            "application_id": followed.application_id,
            "exit": status,
            "seconds": round(time.monotonic() - started, 3),
            "result": _document(followed.output),
        }
    )
    return status


def _document(output: str | None) -> Any:
    """The job's own JSON document, where it gave one."""
    try:
        return json.loads(output or "null")
    except ValueError:
        return None


def _tell(line: str) -> None:
    sys.stderr.write(line)
    sys.stderr.flush()
