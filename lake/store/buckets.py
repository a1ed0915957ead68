"""What is MinIO's own: buckets, by the ``minio`` client. Objects go through ``lake.store.objects``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lake.errors import AccessDenied, StoreError, StoreUnavailable, UsageError

if TYPE_CHECKING:
    from lake.settings import S3Settings


def bucket_of(root: str) -> str:
    """The bucket of a root ``s3://bucket/prefix``."""
    bucket = root.removeprefix("s3://").partition("/")[0]
    if not bucket:
        raise UsageError(f"root {root!r} names no bucket: write s3://bucket or s3://bucket/prefix")
    return bucket


def ensure_bucket(s3: S3Settings, bucket: str) -> bool:
    """Create a bucket; False when it was there. Runs on the driver.

    Raises:
        StoreError: the server refuses, does not answer or does not know the keys, in one line.
    """
    from minio.error import S3Error

    client = open_client(s3)
    with client_errors(s3, bucket):
        if client.bucket_exists(bucket_name=bucket):
            return False
        try:
            client.make_bucket(bucket_name=bucket, location=s3.region)
        except S3Error as error:
            if error.code in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                return False
            raise
    return True


@contextlib.contextmanager
def client_errors(s3: S3Settings, bucket: str) -> Iterator[None]:
    """Translates what the client raises: refusals, an absent server, names that are none."""
    from minio.error import S3Error
    from urllib3.exceptions import HTTPError

    try:
        yield
    except S3Error as error:
        if error.code in ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
            raise AccessDenied(f"bucket {bucket}: {error.code}: check the keys (AWS_ACCESS_KEY_ID …)") from error
        raise StoreError(f"bucket {bucket} cannot be used: {error.code}: {error.message}") from error
    except ValueError as error:
        raise UsageError(f"bucket {bucket!r}: {error}") from error
    except (HTTPError, OSError) as error:
        place = s3.endpoint_url or "the S3 endpoint"
        raise StoreUnavailable(f"no answer from {place}: check AWS_ENDPOINT_URL and that the server runs") from error


def open_client(s3: S3Settings) -> Any:
    """MinIO's own client for an endpoint."""
    import urllib3
    from minio import Minio

    if not s3.endpoint_url:
        raise UsageError("S3 needs an endpoint: set AWS_ENDPOINT_URL, or s3.endpoint_url in a profile")
    parts = urlsplit(s3.endpoint_url)
    http = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=5, read=30), retries=urllib3.Retry(2, backoff_factor=0.2)
    )
    return Minio(
        endpoint=parts.netloc or parts.path,
        access_key=s3.access_key_id,
        secret_key=s3.secret,
        secure=parts.scheme != "http",
        region=s3.region,
        http_client=http,
    )
