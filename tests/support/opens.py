"""Which files of a folder are opened, by whichever process: the kernel tells (inotify), not the code under test."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from types import TracebackType

IN_OPEN, IN_ISDIR, IN_Q_OVERFLOW = 0x20, 0x40000000, 0x4000
EVENT = struct.Struct("iIII")


class Opens:
    """Collects the paths of the files that are opened below a folder while the context lasts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths: set[str] = set()
        """Paths below the folder, filled when the context ends."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._watches: dict[int, bytes] = {}

    def __enter__(self) -> Opens:
        self._descriptor = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        for folder, _, _ in os.walk(os.fsencode(self.folder)):
            watch = self._libc.inotify_add_watch(self._descriptor, folder, IN_OPEN)
            if watch < 0:
                raise OSError(ctypes.get_errno(), "inotify_add_watch", os.fsdecode(folder))
            self._watches[watch] = folder
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            while events := self._read():
                self._take(events)
        finally:
            os.close(self._descriptor)

    def _read(self) -> bytes:
        try:
            return os.read(self._descriptor, 1024 * 1024)
        except BlockingIOError:
            return b""

    def _take(self, events: bytes) -> None:
        at = 0
        while at < len(events):
            watch, mask, _, length = EVENT.unpack_from(events, at)
            name = events[at + EVENT.size : at + EVENT.size + length].rstrip(b"\0")
            at += EVENT.size + length
            if mask & IN_Q_OVERFLOW:
                raise RuntimeError("more files were opened than the kernel could tell")
            if not mask & IN_ISDIR and name:
                path = self._watches[watch] + b"/" + name
                self.paths.add(os.fsdecode(path)[len(str(self.folder)) + 1 :])
