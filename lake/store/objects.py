"""The object store: a folder or a bucket behind one narrow protocol; obstore does the work for both.

Keys are relative, ``/`` between parts. Foreign errors are translated here and nowhere else.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lake.errors import (
    AccessDenied,
    LakeError,
    NotFound,
    StoreError,
    StoreUnavailable,
    UsageError,
)

if TYPE_CHECKING:
    from lake.settings import S3Settings

COALESCE_BYTES = 256 * 1024
STAGING = ".staging"
"""Folder below a folder root for files that are not yet objects; on the same filesystem, so that linking is enough."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object of a store."""

    key: str
    size_bytes: int
    etag: str | None = None


class ObjectStore(Protocol):
    """What the lake asks of a store. Pickles; a client is opened where it is used."""

    root: str

    def put(self, key: str, data: bytes | Path) -> None:
        """Write an object whole or not at all; a file may be taken over by a hard link."""
        ...

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        """Write an object unless there is one; exactly one of several callers gets True."""
        ...

    def get(self, key: str) -> bytes: ...

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes, or ``StoreError``."""
        ...

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Several (offset, length) ranges of one object; near ones are fetched in one request."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]: ...

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


class _Objects:
    """What both stores share; ``_client`` and ``_place`` are theirs."""

    root: str

    @property
    def _client(self) -> Any:
        raise NotImplementedError

    def get(self, key: str) -> bytes:
        import obstore

        with _errors(self.root, key):
            return bytes(obstore.get(self._client, _checked(key)).bytes())

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        return self.get_ranges(key, [(offset, length)])[0]

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        import obstore

        wanted = [(offset, length) for offset, length in ranges if length]
        if not wanted:
            return [b"" for _ in ranges]
        with _errors(self.root, key):
            found = obstore.get_ranges(
                self._client,
                _checked(key),
                starts=[offset for offset, _ in wanted],
                lengths=[length for _, length in wanted],
                coalesce=COALESCE_BYTES,
            )
            chunks = [bytes(chunk) for chunk in found]
        for (offset, length), chunk in zip(wanted, chunks, strict=True):
            if len(chunk) != length:
                raise StoreError(f"{self.root}/{key} ends before byte {offset + length}: the object is cut off")
        filled = iter(chunks)
        return [next(filled) if length else b"" for _, length in ranges]

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        import obstore

        with _errors(self.root, prefix):
            for page in obstore.list(self._client, _checked(prefix.rstrip("/")) or None, chunk_size=1000):
                for entry in page:
                    yield ObjectInfo(entry["path"], int(entry["size"]), entry.get("e_tag"))

    def stat(self, key: str) -> ObjectInfo:
        import obstore

        with _errors(self.root, key):
            entry = obstore.head(self._client, _checked(key))
        return ObjectInfo(key, int(entry["size"]), entry.get("e_tag"))

    def delete(self, key: str) -> None:
        import obstore

        with contextlib.suppress(NotFound), _errors(self.root, key):
            obstore.delete(self._client, _checked(key))


@dataclass(frozen=True)
class FolderStore(_Objects):
    """Objects as files below a folder."""

    root: str

    @cached_property
    def _client(self) -> Any:
        from obstore.store import LocalStore

        with _errors(self.root, ""):
            Path(self.root).mkdir(parents=True, exist_ok=True)
            return LocalStore(self.root)

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root}

    def __setstate__(self, state: dict[str, Any]) -> None:
        object.__setattr__(self, "root", state["root"])

    def put(self, key: str, data: bytes | Path) -> None:
        with _errors(self.root, key), self._staged(data) as staged:
            target = self._path(key)
            Path(staged).replace(target)
            _sync_folder(target.parent)

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        with _errors(self.root, key), self._staged(data) as staged:
            target = self._path(key)
            try:
                os.link(staged, target)
            except FileExistsError:
                return False
            _sync_folder(target.parent)
            return True

    def _path(self, key: str) -> Path:
        target = Path(self.root, _checked(key))
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    @contextlib.contextmanager
    def _staged(self, data: bytes | Path) -> Iterator[str]:
        """The content as a synced file on the root's filesystem; what is left of it afterwards is removed."""
        staging = Path(self.root, STAGING)
        staging.mkdir(parents=True, exist_ok=True)
        name = tempfile.mktemp(dir=staging, prefix="put-")  # noqa: S306  (created exclusively below)
        try:
            if isinstance(data, Path):
                _link_or_copy(data, name)
            else:
                with Path(name).open("xb") as out:
                    out.write(data)
            descriptor = os.open(name, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            yield name
        finally:
            Path(name).unlink(missing_ok=True)


@dataclass(frozen=True)
class BucketStore(_Objects):
    """Objects of an S3 bucket below a prefix."""

    root: str
    s3: S3Settings = field(repr=False)

    @cached_property
    def _client(self) -> Any:
        from obstore.store import S3Store

        bucket, _, prefix = self.root.removeprefix("s3://").partition("/")
        seconds = f"{self.s3.request_timeout_s:g}s"
        options: dict[str, Any] = {
            "bucket": bucket,
            "endpoint": self.s3.endpoint_url,
            "region": self.s3.region,
            "access_key_id": self.s3.access_key_id,
            "secret_access_key": self.s3.secret,
            "skip_signature": None if self.s3.access_key_id else True,
            "virtual_hosted_style_request": False,
            "conditional_put": "etag",
        }
        with _errors(self.root, ""):
            return S3Store(
                prefix=prefix or None,
                client_options={"allow_http": True, "timeout": seconds, "connect_timeout": "5s"},
                retry_config={"max_retries": self.s3.max_retries},
                **{key: value for key, value in options.items() if value is not None},
            )

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "s3": self.s3}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def put(self, key: str, data: bytes | Path) -> None:
        import obstore

        with _errors(self.root, key):
            obstore.put(self._client, _checked(key), data)

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with _errors(self.root, key):
            try:
                # Conditions hold for one PUT, not for a multipart upload; a blob is addressed by its content, so a
                # large one that is there already needs no second upload and a lost race writes equal bytes.
                if isinstance(data, Path) and data.stat().st_size > _SINGLE_PUT_BYTES:
                    return self._put_large(key, data)
                obstore.put(self._client, _checked(key), data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
        return True

    def _put_large(self, key: str, path: Path) -> bool:
        import obstore

        try:
            self.stat(key)
        except NotFound:
            obstore.put(self._client, _checked(key), path, use_multipart=True)
            return True
        return False


_SINGLE_PUT_BYTES = 64 * 1024**2


def _checked(key: str) -> str:
    if key.startswith("/") or ".." in key.split("/"):
        raise UsageError(f"key {key!r} leaves the root")
    return key


def _link_or_copy(source: Path, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _errors(root: str, key: str) -> Iterator[None]:
    """Translates what obstore and the operating system raise, into one line each."""
    from obstore import exceptions as foreign

    place = f"{root.rstrip('/')}/{key}" if key else root
    try:
        yield
    except LakeError:
        raise
    except (FileNotFoundError, foreign.NotFoundError) as error:
        said = str(error)
        if "NoSuchBucket" in said:
            raise NotFound(f"no bucket for {root}: `lake --root {root} init` creates it, or check its name") from error
        raise NotFound(f"no object {place}") from error
    except (PermissionError, foreign.PermissionDeniedError, foreign.UnauthenticatedError) as error:
        raise AccessDenied(f"access to {place} is denied: check the keys (AWS_ACCESS_KEY_ID …) or rights") from error
    except (foreign.BaseError, OSError) as error:
        said = str(error)
        first = " ".join(said.split("\n\nDebug source")[0].split())[:300]
        if any(word in said for word in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "403")):
            raise AccessDenied(f"access to {place} is denied: check the keys (AWS_ACCESS_KEY_ID …)") from error
        if any(word in said for word in ("error sending request", "Connect", "timed out", "dns")):
            raise StoreUnavailable(f"no answer from the store of {root}: check the endpoint; {first}") from error
        raise StoreError(f"{place}: {first}") from error
