"""Which Spark a verb gets: that of ``LAKE_REMOTE``, the warm engine where it fits, else one of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lake.cluster.code import code_zip
from lake.cluster.resources import manager_of
from lake.engine.record import Record, made_of, misfit, read_record
from lake.errors import LakeError
from lake.remote import connect, place, require_safe_server, version_of
from lake.session import build_session, spark_conf, was_submitted
from lake.settings import Settings
from lake.store.objects import open_store
from lake.store.probe import require_safe_commits

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


@contextmanager
def session_for(
    settings: Settings, app_name: str, *, writes: bool = True, tell: Callable[[str], None] = tell
) -> Iterator[SparkSession]:
    """A verb's session, ended with the block. Runs on the driver.

    ``tell`` gets one line when there is a warm engine that does not fit. A session that only reads (``writes=False``)
    needs no right to write: the store is not probed.

    Raises:
        PolicyRefused: the settings, the server or the store would let two writers win one commit.
        SettingsError: ``LAKE_REMOTE`` is no address.
        LakeError: the server there does not answer.
    """
    if settings.remote:
        name = place(settings.remote)
        if version_of(settings.remote) is None:
            raise LakeError(f"LAKE_REMOTE: the Spark at {name} does not answer: is it up, and is the token right?")
        with _attached(settings, settings.remote, writes=writes) as spark:
            spark.addArtifacts(str(code_zip(settings.cache_dir / "code")), pyfile=True)
            yield spark
        return
    own = was_submitted() or never_used(settings) is not None
    record = None if own else read_record(settings)
    if record is not None:
        why = why_not(settings, record)
        if why is None:
            with _attached(settings, url(record), writes=writes) as spark:
                yield spark
            return
        tell(f"lake: the warm engine is not used, {why}: starting Spark (`lake engine stop`, then `start`, renews it)")
    spark = build_session(settings, app_name, writes=writes)
    try:
        yield spark
    finally:
        spark.stop()


@contextmanager
def _attached(settings: Settings, at: str, *, writes: bool) -> Iterator[SparkSession]:
    with connect(at) as spark:
        require_safe_server(spark, place(at))
        if settings.is_s3 and writes:
            require_safe_commits(open_store(settings.root, settings.s3))
        yield spark


def never_used(settings: Settings) -> str | None:
    """Why verbs with these settings use no warm engine at all, and what to do; None when they use one that fits."""
    if settings.remote:
        return "LAKE_REMOTE names another Spark: unset it"
    if manager_of(settings.spark.master) != "local":
        return "the profile's master is a cluster: choose a profile with a local one"
    return None


def why_not(settings: Settings, record: Record) -> str | None:
    """Why a verb does not use an engine that runs; None when it does."""
    never = never_used(settings)
    if never is not None:
        return never
    conf = spark_conf(settings, s3=settings.is_s3)
    why = misfit(record.made, made_of(settings, conf, sys.executable, record.token))
    if why is None and version_of(url(record)) is None:
        return "it does not answer"
    return why


def url(record: Record) -> str:
    """Where an engine listens, with its token. By name: only then does pyspark send a token without TLS."""
    return f"sc://localhost:{record.port}/;token={record.token}"
