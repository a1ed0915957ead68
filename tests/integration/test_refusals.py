"""A store that refuses in the middle of a run: one line that says what to do, exit 1, and the next run completes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lake.engine import Engine
from lake.errors import AccessDenied, StoreError
from lake.refusals import REFUSALS, refusal
from tests.support.lakes import Lake, bucket_lake, command
from tests.support.minio import MinioServer
from tests.support.proxy import Refusal, S3Proxy

pytestmark = pytest.mark.timeout(300)

FILES = 20
ALL = ("GET", "HEAD", "PUT", "POST", "DELETE")
PACKS, ROWS = "/packs/", "/tables/arrivals/"
"""Written by an executor, and by the driver at last."""

full = pytest.mark.full
CASES = [
    pytest.param(Refusal(507, "XMinioStorageFull", only=PACKS), "the store is full", id="full"),
    pytest.param(Refusal(507, "XMinioStorageFull", only=ROWS), "the store is full", id="full at the rows", marks=full),
    pytest.param(Refusal(400, "XMinioAdminBucketQuotaExceeded", only=PACKS), "quota", id="quota", marks=full),
    pytest.param(Refusal(403, "QuotaExceeded", only=ROWS), "quota", id="quota at the rows", marks=full),
    pytest.param(Refusal(403, "RequestTimeTooSkewed", ALL), "NTP", id="clock"),
    pytest.param(Refusal(403, "RequestTimeTooSkewed", ALL, after=30), "NTP", id="clock that drifts", marks=full),
    pytest.param(Refusal(400, "ExpiredToken", ALL), "have expired", id="expired", marks=full),
    pytest.param(Refusal(400, "ExpiredToken", ALL, after=30), "have expired", id="expires"),
    pytest.param(Refusal(403, "AccessDenied"), "denied", id="read-only"),
    pytest.param(Refusal(403, "AccessDenied", only=ROWS), "privileges", id="read-only at the rows", marks=full),
]


@pytest.fixture
def proxy(minio: MinioServer) -> Iterator[S3Proxy]:
    with S3Proxy(minio) as started:
        yield started


@pytest.fixture
def lake(minio: MinioServer, bucket: str, local_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Lake:
    return bucket_lake(minio, bucket, local_engine, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(FILES):
        (tmp_path / f"{number}.txt").write_text(f"note {number}\n" * 30, encoding="utf-8")
    return tmp_path


def whole(lake: Lake, folder: Path) -> None:
    for table, key in (("arrivals", "arrival_id"), ("assets", "asset_id"), ("blobs", "sha256")):
        assert len(lake.rows(table)) == len({row[key] for row in lake.rows(table)}) == FILES
    for row in lake.rows("assets"):
        assert lake.read(row) == (folder / row["path"]).read_bytes()


@pytest.mark.parametrize(("refused", "said"), CASES)
def test_it_is_told_in_one_line_and_the_next_run_completes(
    lake: Lake, proxy: S3Proxy, folder: Path, refused: Refusal, said: str
) -> None:
    proxy.refusal = refused
    process = command(lake, "ingest", str(folder), **proxy.environ())
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "Traceback" not in stderr
    (line,) = [line for line in stderr.splitlines() if line.startswith("lake: ")]
    assert said in line
    assert lake.job.settings.root in line
    assert proxy.refused > refused.after
    assert lake.rows("arrivals") == []
    proxy.refusal = None
    assert lake.ingest(folder)["landed"] == FILES
    whole(lake, folder)


def test_what_passes_is_waited_for(lake: Lake, proxy: S3Proxy, folder: Path) -> None:
    """A store that asks to slow down is asked again, a bit later, by every client."""
    proxy.refusal = Refusal(503, "SlowDown", ALL, after=3)
    process = command(lake, "ingest", str(folder), **proxy.environ())

    def relent() -> None:
        proxy.refusal = None

    relents = threading.Timer(2.5, relent)
    relents.start()
    _, stderr = process.communicate(timeout=200)
    relents.join()
    assert process.returncode == 0, stderr
    assert proxy.refused > 4
    whole(lake, folder)


@pytest.mark.parametrize("code", REFUSALS)
def test_each_code_is_known_by_how_clients_quote_it(code: str) -> None:
    for text in (f"<Error><Code>{code}</Code>", f"AWS Error {code} during PutObject", f"ExceptionName: {code} Message"):
        found = refusal("s3://city/k", OSError(text))
        assert type(found) in (StoreError, AccessDenied)
        assert str(found).startswith("s3://city/k: ")
    assert refusal("s3://city/k", OSError(f"no object s3://city/{code}")) is None
