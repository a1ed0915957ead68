"""Older versions of objects: a bucket that keeps versions has what was overwritten or deleted until they go too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lake.store.buckets import bucket_of, client_errors, open_client

if TYPE_CHECKING:
    from lake.settings import S3Settings


def delete_older_versions(root: str, s3: S3Settings, keys: Iterable[str]) -> dict[str, int]:
    """Delete all but the newest versions of objects, and marks of deletion, and return how many by key.

    A key that ends in ``/`` stands for all below it. Nothing is done to a bucket that never kept versions.
    Runs on the driver.

    Raises:
        AccessDenied: the keys may not list or delete versions, or a retention lock forbids it.
        StoreError: the server refuses otherwise.
    """
    bucket = bucket_of(root)
    base = root.removeprefix(f"s3://{bucket}").strip("/")
    deleted: dict[str, int] = {}
    with client_errors(s3, bucket):
        client = open_client(s3)
        if client.get_bucket_versioning(bucket_name=bucket).status == "Off":
            return {}
        for key in keys:
            prefix = f"{base}/{key}" if base else key
            found = client.list_objects(bucket_name=bucket, prefix=prefix, recursive=True, include_version=True)
            for entry in found:
                named = key.endswith("/") or entry.object_name == prefix
                if named and (entry.is_delete_marker or entry.is_latest in (False, "false")):
                    client.remove_object(bucket_name=bucket, object_name=entry.object_name, version_id=entry.version_id)
                    deleted[key] = deleted.get(key, 0) + 1
    return deleted
