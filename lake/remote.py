"""A session on a server (Spark Connect): the warm engine of this machine, or a cluster that ``LAKE_REMOTE`` names."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lake.errors import PolicyRefused, SettingsError
from lake.session import unsafe_commits

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MODE = "SPARK_CONNECT_MODE_ENABLED"
"""Has pyspark's functions build columns for a server and not for a JVM of this process."""
ANSWER_S = 10.0
PLACE = re.compile(r"sc://(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:\d+)?(?=/|$)")
UNREADABLE = "LAKE_REMOTE cannot be read: write sc://host:port/;token=…, with %-escapes in the token"
"""Shows nothing of the text: where it is no address, a token may stand anywhere in it."""


@contextmanager
def connect(url: str) -> Iterator[SparkSession]:
    """A session at ``sc://host:port/;token=…``, ended with the block. Runs on the driver; starts nothing.

    Its commit safety is not known yet: ``require_safe_server``.
    """
    from pyspark.sql.connect.session import SparkSession

    before = os.environ.get(MODE)
    os.environ[MODE] = "1"
    try:
        session = SparkSession.builder.remote(url).create()
        _set_patience(session)
        try:
            yield session  # type: ignore[misc]
        finally:
            session.stop()
    finally:
        if before is None:
            del os.environ[MODE]
        else:
            os.environ[MODE] = before


def is_remote(spark: SparkSession) -> bool:
    """Whether a session is a client of a server (Spark Connect)."""
    return type(spark).__module__.startswith("pyspark.sql.connect.")


@contextmanager
def separate_session(spark: SparkSession) -> Iterator[SparkSession]:
    """A session on the same engine with views and settings of its own. Runs on the driver."""
    if not is_remote(spark):
        yield spark.newSession()
        return
    _ = spark.version  # a server makes a session at its first request, and clones none before
    session = spark.cloneSession()  # type: ignore[attr-defined]
    session.release_session_on_close = True  # pyspark 4.2.0 forgets it, and fails when the session ends
    _set_patience(session)
    try:
        yield session
    finally:
        session.stop()


def _set_patience(session: Any) -> None:
    """Spark's own patience with a server that has died is ten minutes."""
    from pyspark.sql.connect.client.retries import DefaultPolicy

    session.client.set_retry_policies([DefaultPolicy(max_retries=5, max_backoff=2000)])


def place(url: str) -> str:
    """A server's address without its token. Raises ``SettingsError`` where it is no address."""
    found = PLACE.match(url)
    if found is None:
        raise SettingsError(UNREADABLE)
    return found[0]


def version_of(url: str, timeout_s: float = ANSWER_S) -> str | None:
    """The Spark version of a server; None when it does not answer in time, or not to this token.

    Raises:
        SettingsError: the address cannot be read. What pyspark says of it has the token in it, and goes no further.
    """
    import grpc  # type: ignore[import-untyped]
    from pyspark.sql.connect.client.core import DefaultChannelBuilder
    from pyspark.sql.connect.proto import base_pb2, base_pb2_grpc

    user = base_pb2.UserContext(user_id="lake")
    mine = str(uuid.uuid4())
    try:
        builder = DefaultChannelBuilder(url)
    except ValueError:
        raise SettingsError(UNREADABLE) from None
    with builder.toChannel() as channel:
        server = base_pb2_grpc.SparkConnectServiceStub(channel)  # type: ignore[no-untyped-call]
        asked = base_pb2.AnalyzePlanRequest(session_id=mine, user_context=user, client_type="lake")
        asked.spark_version.SetInParent()
        try:
            said = server.AnalyzePlan(asked, timeout=timeout_s).spark_version.version
            server.ReleaseSession(
                base_pb2.ReleaseSessionRequest(session_id=mine, user_context=user, client_type="lake"),
                timeout=timeout_s,
            )
        except grpc.RpcError:
            return None
    return str(said)


def require_safe_server(spark: SparkSession, name: str) -> None:
    """Raise ``PolicyRefused``, by name, where a server's settings would let two writers win one commit."""
    wrong = unsafe_commits(dict(spark.conf.getAll))
    if wrong:
        raise PolicyRefused(f"the Spark at {name} cannot be used: {wrong}; start it with the lake's settings and JARs")
