"""``lake doctor``: is everything right?"""

from __future__ import annotations

import click

from jobs.cli import EXIT_FINDINGS, Invocation, Verb


@click.command(cls=Verb)
@click.option("--cluster", is_flag=True, help="Also ask every executor, and name where it differs from the driver.")
@click.pass_obj
def command(invocation: Invocation, cluster: bool) -> int:
    """Check versions, decoder, store, commit safety, JARs and tables; exit 3 when something is wrong.

    \b
    lake doctor
    lake --profile minio --root s3://recordings doctor
    lake doctor --cluster --profile cluster
    """
    from jobs.context import open_job
    from lake.catalog.doctor import examine

    job = open_job(invocation, must_exist=False)
    checks = examine(job.settings, job.tables, job.store)
    if cluster:
        from lake.cluster.survey import examine_cluster

        checks += examine_cluster(job.settings)
    ok = all(check.ok for check in checks)
    if not invocation.emit({"ok": ok, "checks": [c.__dict__ for c in checks]}):
        for check in checks:
            click.echo(f"{'ok  ' if check.ok else 'FAIL'} {check.name:24} {check.detail}")
    return 0 if ok else EXIT_FINDINGS
