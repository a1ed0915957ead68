"""The files of a table, written and read by Arrow itself, on a folder and on S3."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit


def filesystem_at(uri: str, storage_options: Mapping[str, str] | None) -> Any:
    """Arrow's own filesystem at a table. With delta-rs's, which calls Python from Arrow's threads, a process that
    read with threads aborts at its end now and then (deltalake 1.6.6, pyarrow 26: 24 of 34 runs)."""
    from pyarrow import fs

    if not uri.startswith("s3://"):
        return fs.SubTreeFileSystem(uri, fs.LocalFileSystem())
    options = storage_options or {}
    endpoint = options.get("AWS_ENDPOINT_URL")
    s3 = fs.S3FileSystem(
        access_key=options.get("AWS_ACCESS_KEY_ID"),
        secret_key=options.get("AWS_SECRET_ACCESS_KEY"),
        region=options.get("AWS_REGION"),
        endpoint_override=urlsplit(endpoint).netloc if endpoint else None,
        scheme=urlsplit(endpoint).scheme if endpoint else "https",
        force_virtual_addressing=False,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=10),
        # A small file is one PUT, not the three requests of an upload in parts.
        allow_delayed_open=True,
    )
    return fs.SubTreeFileSystem(uri.removeprefix("s3://"), s3)


@contextlib.contextmanager
def new_file(filesystem: Any, path: str) -> Iterator[Any]:
    """A stream into a new file, whole when the block ends.

    Where the answer to the end of an upload in parts is lost, Arrow asks once more, and S3 knows of no such upload:
    the file is there then (``lake.store.objects`` meets the same).
    """
    sink = filesystem.open_output_stream(path)
    try:
        yield sink
        size_bytes = sink.tell()
        try:
            sink.close()
        except OSError as error:
            if "NO_SUCH_UPLOAD" not in str(error) or filesystem.get_file_info(path).size != size_bytes:
                raise
    finally:
        with contextlib.suppress(OSError):
            sink.close()
