"""Recordings in a folder: listed in key order, opened without following anything that moved meanwhile.

Names are bytes. A key is the path below the folder, UTF-8 where it is UTF-8, with ``%`` and all other bytes
percent-escaped (``connectors.keys``). All access goes component by component through directory file
descriptors, so that neither PATH_MAX nor a folder swapped for a link between listing and reading matters.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, ClassVar
from urllib.parse import quote_from_bytes, unquote_to_bytes

from connectors.base import Options
from connectors.keys import key_to_path, path_to_key
from lake.errors import SourceError, Unreadable
from lake.model import Arrival, Skipped

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NOT_FILES = {
    stat.S_IFIFO: "is a pipe",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFBLK: "is a block device",
    stat.S_IFCHR: "is a character device",
}


@dataclass(frozen=True)
class Folder:
    """A folder of this machine, or one mounted at the same path on every executor."""

    root: str
    exclude: tuple[str, ...] = ()
    follow_links: bool = False

    name: ClassVar[str] = "file"

    @classmethod
    def from_uri(cls, uri: str, options: Options) -> Folder:
        """A path or a ``file://`` URI."""
        path = os.fsdecode(unquote_to_bytes(uri.removeprefix("file://"))) if uri.startswith("file://") else uri
        root = os.path.normpath(Path(path).expanduser().absolute())
        return cls(root, options.exclude, options.follow_links)

    @property
    def source(self) -> str:
        return "file://" + quote_from_bytes(os.fsencode(self.root))

    def discover(self, after: str | None = None) -> Iterator[Arrival | Skipped]:
        """See ``Connector.discover``. Holds the names of the folders on the way down, one file descriptor at a time."""
        excluded = frozenset(_identities(self.exclude))
        past = after.encode("utf-8", "surrogateescape") if after is not None else None
        try:
            root = Path(self.root).stat()
            os.close(os.open(self.root, _FOLDER))
            names = self._names((), b"", past)
        except FileNotFoundError as error:
            raise SourceError(f"Folder {self.root} does not exist: name a folder of this machine.") from error
        except NotADirectoryError as error:
            raise SourceError(f"{self.root} is no folder: name the folder that it lies in.") from error
        except OSError as error:
            raise SourceError(f"Folder {self.root} {_say(error)}: name a folder that this machine can list.") from error
        if (root.st_dev, root.st_ino) in excluded:
            raise SourceError(f"Folder {self.root} is the lake itself: name the folder that the recordings lie in.")
        return self._walk([_Level((), names, (root.st_dev, root.st_ino))], past, excluded)

    def open(self, arrival: Arrival) -> BinaryIO:
        """See ``Connector.open``. Only a regular file is opened, also when something else lies there by now."""
        *above, name = _components(arrival.key)
        try:
            with self._directory(tuple(above)) as directory:
                mode = os.stat(name, dir_fd=directory, follow_symlinks=self.follow_links).st_mode
                if not stat.S_ISREG(mode):
                    raise Unreadable(f"{arrival.key!r} is no regular file any more.")
                descriptor = os.open(name, _FILE | self._nofollow, dir_fd=directory)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                raise Unreadable(f"{arrival.key!r} is no regular file any more.")
        except (OSError, ValueError) as error:
            raise Unreadable(f"{arrival.key!r} {_say(error)}.") from error
        return io.BufferedReader(_Reading(descriptor, arrival.key))

    def verify(self, arrival: Arrival, size_bytes: int) -> None:
        """See ``Connector.verify``."""
        *above, name = _components(arrival.key)
        try:
            with self._directory(tuple(above)) as directory:
                now = os.stat(name, dir_fd=directory, follow_symlinks=self.follow_links)
        except (OSError, ValueError) as error:
            raise Unreadable(f"{arrival.key!r} {_say(error)}.") from error
        if _version(now) != arrival.version or size_bytes != arrival.size_bytes:
            raise Unreadable(
                f"{arrival.key!r} changed while being read: listed with {arrival.size_bytes} bytes, "
                f"{size_bytes} read, {now.st_size} now. The next run takes it as a new version."
            )

    @property
    def _nofollow(self) -> int:
        return 0 if self.follow_links else os.O_NOFOLLOW

    @contextmanager
    def _directory(self, above: tuple[bytes, ...], flags: int = os.O_PATH) -> Iterator[int]:
        """Descriptor of the folder that lies ``above`` below the root, reached one component at a time."""
        flags |= _FOLDER
        here = os.open(self.root, flags)
        try:
            for component in above:
                # O_PATH folders need the right to enter only, not the right to list.
                inside = os.open(component, flags | self._nofollow, dir_fd=here)
                os.close(here)
                here = inside
            yield here
        finally:
            os.close(here)

    def _names(self, above: tuple[bytes, ...], prefix: bytes, past: bytes | None) -> list[bytes]:
        """Keys of one folder's entries, last first; those of folders end with ``/``, which puts the tree in order."""
        with self._directory(above, 0) as directory, os.scandir(directory) as entries:
            keys = [path_to_key(os.fsencode(entry.name)).encode() + b"/" * self._enters(entry) for entry in entries]
        if past is not None:
            keys = [
                key for key in keys if prefix + key > past or (key.endswith(b"/") and past.startswith(prefix + key))
            ]
        keys.sort(reverse=True)
        return keys

    def _enters(self, entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_dir(follow_symlinks=self.follow_links)
        except OSError:
            return False

    def _walk(
        self, levels: list[_Level], past: bytes | None, excluded: frozenset[tuple[int, int]]
    ) -> Iterator[Arrival | Skipped]:
        """Depth first over ``levels``; a folder's descriptor is open only while its own files are listed."""
        while levels:
            level = levels[-1]
            prefix = b"".join(part + b"/" for part in level.key_parts)
            try:
                yield from self._files(level, prefix)
            except OSError as error:
                yield Skipped(prefix.decode(), f"folder {_say(error)}")
                levels.pop()
                continue
            if not level.names:
                levels.pop()
                continue
            part = level.names.pop().removesuffix(b"/")
            try:
                levels.append(self._enter(levels, part, prefix + part + b"/", past, excluded))
            except OSError as error:
                yield Skipped((prefix + part + b"/").decode(), f"folder {_say(error)}")
            except _NotEntered as reason:
                yield Skipped((prefix + part + b"/").decode(), str(reason))

    def _enter(
        self, levels: list[_Level], part: bytes, prefix: bytes, past: bytes | None, excluded: frozenset[tuple[int, int]]
    ) -> _Level:
        parts = (*levels[-1].key_parts, part)
        above = tuple(key_to_path(each.decode()) for each in parts)
        with self._directory(above) as directory:
            found = os.fstat(directory)
        identity = (found.st_dev, found.st_ino)
        if identity in excluded:
            raise _NotEntered("is the lake itself, or was excluded")
        if any(level.identity == identity for level in levels):
            raise _NotEntered("is a link to a folder that it lies in")
        return _Level(parts, self._names(above, prefix, past), identity)

    def _files(self, level: _Level, prefix: bytes) -> Iterator[Arrival | Skipped]:
        """What lies in one folder up to its next subfolder."""
        if not level.names or level.names[-1].endswith(b"/"):
            return
        above = tuple(key_to_path(part.decode()) for part in level.key_parts)
        with self._directory(above) as directory:
            while level.names and not level.names[-1].endswith(b"/"):
                key = level.names.pop().decode()
                try:
                    found = self._look(directory, prefix.decode() + key, key_to_path(key))
                except FileNotFoundError:
                    continue  # gone since its folder was listed: it was never seen
                except OSError as error:
                    found = Skipped(prefix.decode() + key, _say(error))
                yield found

    def _look(self, directory: int, key: str, name: bytes) -> Arrival | Skipped:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            if not self.follow_links:
                return Skipped(key, "is a symbolic link; links are followed only when asked")
            try:
                found = os.stat(name, dir_fd=directory)
            except FileNotFoundError:
                return Skipped(key, "is a symbolic link to nothing")
        if not stat.S_ISREG(found.st_mode):
            return Skipped(key, _NOT_FILES.get(stat.S_IFMT(found.st_mode), "is no regular file"))
        readable = os.access(name, os.R_OK, dir_fd=directory, effective_ids=True)
        return Arrival(
            source=self.source,
            key=key,
            version=_version(found),
            size_bytes=found.st_size,
            modified_at_utc=_when(found.st_mtime_ns),
            problem=None if readable else f"{key!r} cannot be read: no permission.",
        )


def _components(key: str) -> list[bytes]:
    parts = key_to_path(key).split(b"/")
    if not {b"", b".", b".."}.isdisjoint(parts):
        raise Unreadable(f"{key!r} names nothing below its folder.")
    return parts


@dataclass(slots=True)
class _Level:
    """A folder on the way down: what is left of it to visit."""

    key_parts: tuple[bytes, ...]
    names: list[bytes]
    identity: tuple[int, int]


class _NotEntered(Exception):
    pass


class _Reading(io.FileIO):
    """A file whose read errors are ``Unreadable``."""

    def __init__(self, descriptor: int, key: str) -> None:
        super().__init__(descriptor, "rb")
        self._key = key

    def readinto(self, buffer: Any) -> int:
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise Unreadable(f"{self._key!r} {_say(error)}.") from error

    def readall(self) -> bytes:
        try:
            return super().readall()
        except OSError as error:
            raise Unreadable(f"{self._key!r} {_say(error)}.") from error


def _version(found: os.stat_result) -> str:
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}-{found.st_ino}"


def _when(mtime_ns: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(mtime_ns / 1e9, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _identities(paths: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    for path in paths:
        try:
            found = Path(path).stat()
        except OSError:
            continue  # not there yet, so nothing of it can be listed
        yield found.st_dev, found.st_ino


def _say(error: OSError | ValueError) -> str:
    """What went wrong, as the end of a sentence that begins with a name."""
    if not isinstance(error, OSError):
        return "has a name that this system does not know"
    known = {
        errno.ENOENT: "is gone",
        errno.ENOTDIR: "lies below something that is no folder",
        errno.EACCES: "cannot be read: no permission",
        errno.EPERM: "cannot be read: no permission",
        errno.ELOOP: "is a symbolic link by now, or a loop of them",
    }
    return known.get(error.errno or 0, f"cannot be read: {error.strerror or error}")
