"""The object store: a folder or a bucket behind one narrow protocol; obstore does the work for both.

Keys are relative, ``/`` between parts. Foreign errors are translated by ``lake.store.foreign`` and nowhere else.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lake.errors import AlreadyExists, NotFound, StoreUnavailable, UsageError
from lake.store.foreign import STAGING, checked, errors, lacks_bucket, lacks_upload
from lake.store.readable import COALESCE_BYTES, ObjectInfo, Readable

if TYPE_CHECKING:
    from obstore.store import BackoffConfig

    from lake.settings import S3Settings

__all__ = ["COALESCE_BYTES", "BucketStore", "FolderStore", "ObjectInfo", "ObjectStore", "open_store"]

_BACKOFF: BackoffConfig = {"init_backoff": timedelta(seconds=0.5), "max_backoff": timedelta(seconds=2), "base": 2}
"""Waits long enough that four tries outlast the restart of a server."""
COMPARED_BYTES = 8 * 1024**2
"""What is read back is compared so many bytes at a time."""


class ObjectStore(Protocol):
    """What the lake asks of a store. Pickles; a client is opened where it is used."""

    @property
    def root(self) -> str: ...

    def put(self, key: str, data: bytes | Path) -> None:
        """Write an object whole or not at all; a file may be taken over by a hard link."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write a small object unless there is one; exactly one of several callers gets True."""
        ...

    def get(self, key: str) -> bytes: ...

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes, or ``StoreError``."""
        ...

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Several (offset, length) ranges of one object; near ones are fetched in one request."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects below a prefix of whole parts (``packs`` is not ``packs2/…``); none is no error."""
        ...

    def stat(self, key: str) -> ObjectInfo: ...

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is no error."""
        ...


def open_store(root: str, s3: S3Settings | None = None) -> ObjectStore:
    """The store of a root: ``s3://bucket/prefix``, a folder's path or ``file://``."""
    if root.startswith("s3://"):
        if s3 is None:
            raise UsageError(f"{root} needs S3 settings: set AWS_ENDPOINT_URL and the keys, or use a profile")
        return BucketStore(root, s3)
    return FolderStore(root.removeprefix("file://"))


@dataclass(frozen=True)
class FolderStore(Readable):
    """Objects as files below a folder."""

    root: str

    @cached_property
    def _client(self) -> Any:
        from obstore.store import LocalStore

        with errors(self.root):
            if not Path(self.root).is_dir():
                raise NotFound(f"no folder {self.root}: check the root")
            return LocalStore(self.root)

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root}

    def __setstate__(self, state: dict[str, Any]) -> None:
        object.__setattr__(self, "root", state["root"])

    def put(self, key: str, data: bytes | Path) -> None:
        checked(key)
        with errors(self.root, key), self._staged(data) as staged:
            target = self._target(key)
            staged.replace(target)
            _sync_folder(target.parent)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        checked(key)
        with errors(self.root, key), self._staged(data) as staged:
            target = self._target(key)
            try:
                target.hardlink_to(staged)
            except FileExistsError:
                return False
            _sync_folder(target.parent)
            return True

    def delete(self, key: str) -> None:
        with errors(self.root, key):
            target = Path(self.root, checked(key))
            try:
                target.unlink()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return
            _sync_folder(target.parent)

    def _target(self, key: str) -> Path:
        """The file of a key, in a folder that is there and stays there when the power fails."""
        target = Path(self.root, key)
        missing = [folder for folder in target.parents if not folder.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            _sync_folder(folder.parent)
        return target

    @contextlib.contextmanager
    def _staged(self, data: bytes | Path) -> Iterator[Path]:
        """The content as a synced file on the root's filesystem; what is left of it afterwards is removed."""
        name = Path(self.root, STAGING, f"put-{uuid.uuid4().hex}")
        name.parent.mkdir(parents=True, exist_ok=True)
        try:
            if isinstance(data, Path):
                _link_or_copy(data, name)
            else:
                with name.open("xb") as out:
                    out.write(data)
            _sync(name, os.O_RDONLY)
            yield name
        finally:
            name.unlink(missing_ok=True)


@dataclass(frozen=True)
class BucketStore(Readable):
    """Objects of an S3 bucket below a prefix."""

    root: str
    s3: S3Settings = field(repr=False)

    @cached_property
    def _client(self) -> Any:
        return self._opened(self.s3.max_retries)

    @cached_property
    def _once(self) -> Any:
        """A client that does not try again by itself: for conditional creates."""
        return self._opened(0)

    def _opened(self, max_retries: int) -> Any:
        from obstore.store import S3Store

        endpoint = self.s3.endpoint_url
        if endpoint and not re.match(r"https?://[^/]", endpoint):
            raise UsageError(f"endpoint {endpoint!r} is no address: write http://host:port (AWS_ENDPOINT_URL)")
        bucket, _, prefix = self.root.removeprefix("s3://").partition("/")
        seconds = f"{self.s3.request_timeout_s:g}s"
        options: dict[str, Any] = {
            "bucket": bucket,
            "endpoint": endpoint,
            "region": self.s3.region,
            "access_key_id": self.s3.access_key_id,
            "secret_access_key": self.s3.secret if self.s3.access_key_id else None,
            "skip_signature": None if self.s3.access_key_id else True,
            "virtual_hosted_style_request": False,
            "conditional_put": "etag",
        }
        with errors(self.root):
            return S3Store(
                prefix=prefix or None,
                client_options={"allow_http": True, "timeout": seconds, "connect_timeout": "5s"},
                retry_config={"max_retries": max_retries, "backoff": _BACKOFF},
                **{key: value for key, value in options.items() if value is not None},
            )

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "s3": self.s3}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def put(self, key: str, data: bytes | Path) -> None:
        import obstore

        try:
            with errors(self.root, key):
                obstore.put(self._client, checked(key), data)
        except NotFound as error:
            # The answer to the end of an upload in parts was lost: asked again, the store knows of no such upload.
            if not (lacks_upload(error.__cause__) and self._holds(key, data)):
                raise

    def _holds(self, key: str, data: bytes | Path) -> bool:
        """Whether an object is these bytes."""
        if self.stat(key).size_bytes != (len(data) if isinstance(data, bytes) else data.stat().st_size):
            return False
        with io.BytesIO(data) if isinstance(data, bytes) else data.open("rb") as content:
            at = 0
            while chunk := content.read(COMPARED_BYTES):
                if self.get_range(key, at, len(chunk)) != chunk:
                    return False
                at += len(chunk)
        return True

    def put_if_absent(self, key: str, data: bytes) -> bool:
        for attempt in range(self.s3.max_retries + 1):
            try:
                self._create(key, data)
                return True
            except AlreadyExists:
                # Only where the answer to an earlier try was lost can the object be our own.
                return attempt > 0 and self.get(key) == data
            except StoreUnavailable:
                if attempt == self.s3.max_retries:
                    raise
                time.sleep(min(2.0, 0.5 * 2**attempt))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _create(self, key: str, data: bytes) -> None:
        import obstore

        with errors(self.root, key):
            obstore.put(self._once, checked(key), data, mode="create", use_multipart=False)

    def delete(self, key: str) -> None:
        import obstore

        try:
            with errors(self.root, key):
                obstore.delete(self._client, checked(key))
        except NotFound as error:
            if lacks_bucket(error.__cause__):
                raise


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _sync_folder(folder: Path) -> None:
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
