"""Fixtures of all layers. What is expensive (Spark, MinIO, a pool of processes) starts lazily and once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lake.engine import Engine, LocalEngine, SparkEngine
from lake.settings import load_settings
from tests.support.corpus import corpus, whole_corpus
from tests.support.engines import WarmEngine
from tests.support.lakes import Lake, new_lake
from tests.support.minio import bucket, minio

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["bucket", "corpus", "minio", "whole_corpus"]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of who runs it."""
    for name in ("LAKE_ROOT", "LAKE_PROFILE", "LAKE_CONF", "LAKE_REMOTE", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def local_engine() -> Iterator[Engine]:
    engine = LocalEngine(2)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The one Spark session of a test run, with S3A on its path."""
    from lake.session import build_session

    settings = load_settings(str(tmp_path_factory.mktemp("spark-root")))
    session = build_session(settings, "tests", s3=True)
    yield session
    session.stop()


@pytest.fixture(scope="session")
def warm_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmEngine]:
    """The one warm engine of a test run, in a cache folder of its own."""
    with WarmEngine(tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.fixture(scope="session")
def spark_engine(spark: SparkSession) -> Engine:
    return SparkEngine(spark, 2)


@pytest.fixture(params=["local", "spark"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine in turn: the same tests hold for both."""
    found: Engine = request.getfixturevalue(f"{request.param}_engine")
    return found


@pytest.fixture
def lake(tmp_path: Path, engine: Engine) -> Lake:
    """An empty lake in a folder."""
    return new_lake(str(tmp_path / "lake"), engine)


@pytest.fixture
def local_lake(tmp_path: Path, local_engine: Engine) -> Lake:
    """An empty lake in a folder, filled by the local engine alone."""
    return new_lake(str(tmp_path / "lake"), local_engine)
