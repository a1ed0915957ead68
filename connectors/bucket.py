"""Recordings in any S3 bucket: listed page by page, read under the ETag they were listed with.

The ``minio`` client is used and not ``obstore``: a single key with a newline made the latter's listing of the whole
bucket fail (measured). What the server itself does not list cannot be seen: MinIO leaves out ``a/b`` when there is
an object ``a`` (measured too).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from os import environ
from typing import Any, BinaryIO, ClassVar
from urllib.parse import urlsplit

from connectors.base import Options
from lake.errors import SourceError, Unreadable, UsageError
from lake.model import Arrival, Skipped

_CONNECT_S = 10.0
_READ_S = 60.0
_RESUMES = 3
"""How often a read that breaks off is taken up again where it ended."""
_ENVIRONMENT = {
    "endpoint_url": "AWS_ENDPOINT_URL",
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "region": "AWS_REGION",
}


@dataclass(frozen=True)
class Bucket:
    """The objects below a prefix of an S3 bucket."""

    bucket: str
    prefix: str
    exclude: tuple[str, ...] = ()
    endpoint_url: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    region: str | None = None

    name: ClassVar[str] = "s3"

    @classmethod
    def from_uri(cls, uri: str, options: Options) -> Bucket:
        """``s3://bucket`` or ``s3://bucket/prefix``; the prefix is a folder's name, with or without its last ``/``."""
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        if not bucket:
            raise UsageError(f"Source {uri!r} names no bucket: write s3://bucket/prefix.")
        given: Mapping[str, str | None] = options.s3 or {}
        access = {name: given.get(name) or environ.get(variable) or None for name, variable in _ENVIRONMENT.items()}
        below = prefix.rstrip("/") + "/" if prefix.strip("/") else ""
        return cls(bucket, below, options.exclude, **access)

    def __getstate__(self) -> dict[str, Any]:
        """Without the client: executors open their own."""
        return {name: value for name, value in self.__dict__.items() if name != "_client"}

    @property
    def source(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def discover(self, after: str | None = None) -> Iterator[Arrival | Skipped]:
        """See ``Connector.discover``. One page of 1,000 keys is in memory."""
        start = self.prefix + _to_object_key(after) if after is not None else None
        told: set[str] = set()
        with _translated(f"{self.source} at {self.endpoint_url or 'AWS'}"):
            for found in self._client.list_objects(
                bucket_name=self.bucket, prefix=self.prefix or None, recursive=True, start_after=start
            ):
                name = str(found.object_name)
                key = _to_key(name[len(self.prefix) :])
                excluded = next(
                    (each for each in self.exclude if f"s3://{self.bucket}/{name}".startswith(each.rstrip("/") + "/")),
                    None,
                )
                if excluded is not None:
                    if excluded not in told:
                        told.add(excluded)
                        yield Skipped(key, f"lies in {excluded}, which is the lake itself or was excluded")
                elif name.endswith("/") and not found.size:
                    if key:
                        yield Skipped(key, "is the empty marker of a folder")
                else:
                    yield self._arrival(key, found)

    def open(self, arrival: Arrival) -> BinaryIO:
        """See ``Connector.open``. The server refuses when the object is not the one that was listed."""
        return io.BufferedReader(_Reading(self, arrival), buffer_size=1 << 20)

    def verify(self, arrival: Arrival, size_bytes: int) -> None:
        """See ``Connector.verify``. What was read is what was listed, because every request named its ETag."""
        if size_bytes != arrival.size_bytes:
            raise Unreadable(
                f"{arrival.key!r} broke off: listed with {arrival.size_bytes} bytes, {size_bytes} read. "
                "Retry it with `lake quarantine retry`."
            )

    def request(self, arrival: Arrival, offset: int) -> Any:
        """The response that streams an arrival's bytes from ``offset`` on. Runs on the executor."""
        from minio.error import S3Error
        from urllib3.exceptions import HTTPError

        etag = arrival.version.split("-", 1)[1].rsplit("_", 1)[0]
        try:
            return self._client.get_object(
                bucket_name=self.bucket,
                object_name=self.prefix + _to_object_key(arrival.key),
                offset=offset,
                request_headers={"If-Match": f'"{etag}"'},
            )
        except S3Error as error:
            said = {
                "PreconditionFailed": "changed while being read; the next run takes it as a new version",
                "NoSuchKey": "is gone",
                "AccessDenied": "cannot be read: no permission",
            }
            raise Unreadable(
                f"{arrival.key!r} {said.get(error.code or '', f'cannot be read: {error.code}')}."
            ) from error
        except (HTTPError, ValueError) as error:
            raise Unreadable(
                f"{arrival.key!r} cannot be read: {type(error).__name__} from {self.endpoint_url}."
            ) from error

    def _arrival(self, key: str, found: Any) -> Arrival:
        at = found.last_modified
        etag = str(found.etag).strip('"')
        return Arrival(
            source=self.source,
            key=key,
            version=f"{found.size}-{etag}_{at.isoformat() if at else ''}",
            size_bytes=int(found.size or 0),
            modified_at_utc=at,
        )

    @cached_property
    def _client(self) -> Any:
        import certifi
        import urllib3
        from minio import Minio

        parts = urlsplit(self.endpoint_url or "https://s3.amazonaws.com")
        http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=_CONNECT_S, read=_READ_S),
            retries=urllib3.Retry(total=2, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
            cert_reqs="CERT_REQUIRED",
            ca_certs=environ.get("SSL_CERT_FILE") or certifi.where(),
        )
        try:
            return Minio(
                endpoint=parts.netloc,
                access_key=self.access_key_id,
                secret_key=self.secret_access_key,
                secure=parts.scheme == "https",
                region=self.region or ("us-east-1" if self.endpoint_url else None),
                http_client=http,
            )
        except ValueError as error:
            raise UsageError(f"Endpoint {self.endpoint_url!r} cannot be used: {error}.") from error


class _Reading(io.RawIOBase):
    """The bytes of one object; a connection that breaks is taken up again from where it broke."""

    def __init__(self, bucket: Bucket, arrival: Arrival) -> None:
        self._bucket = bucket
        self._arrival = arrival
        self._offset = 0
        self._resumes_left = _RESUMES
        self._response = bucket.request(arrival, 0) if arrival.size_bytes else None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        from urllib3.exceptions import HTTPError

        while self._response is not None and self._offset < self._arrival.size_bytes:
            try:
                data = self._response.read(len(buffer))
            except (HTTPError, OSError) as error:
                self._resume(error)
                continue
            buffer[: len(data)] = data
            self._offset += len(data)
            return len(data)
        return 0

    def _resume(self, error: Exception) -> None:
        if not self._resumes_left:
            raise Unreadable(f"{self._arrival.key!r} broke off after {self._offset} bytes, again and again.") from error
        self._resumes_left -= 1
        self._response.close()  # type: ignore[union-attr]
        self._response = self._bucket.request(self._arrival, self._offset)

    def close(self) -> None:
        if not self.closed and self._response is not None:
            self._response.close()
            self._response.release_conn()
        super().close()


def _to_key(name: str) -> str:
    return name.replace("%", "%25")


def _to_object_key(key: str) -> str:
    return key.replace("%25", "%")


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """The errors of the S3 client, as those of the lake."""
    from minio.error import MinioException, S3Error
    from urllib3.exceptions import HTTPError

    said = {
        "NoSuchBucket": "does not exist: check the bucket's name",
        "AccessDenied": "may not be listed with these keys: check the policy",
        "InvalidAccessKeyId": "does not know this access key: check AWS_ACCESS_KEY_ID",
        "SignatureDoesNotMatch": "refuses this secret key: check AWS_SECRET_ACCESS_KEY",
    }
    try:
        yield
    except S3Error as error:
        raise SourceError(f"{where} {said.get(error.code or '', f'cannot be listed: {error.code}')}.") from error
    except (HTTPError, MinioException) as error:
        raise SourceError(f"{where} gives no answer ({type(error).__name__}): check the endpoint.") from error
    except ValueError as error:
        raise SourceError(f"{where} cannot be listed: {error}.") from error
