"""What the decoding child gives up before it sees untrusted bytes: memory, files, processes, the network."""

from __future__ import annotations

import ctypes
import platform
import resource
import signal
import struct

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 1, 38, 22
SECCOMP_MODE_FILTER = 2
FILE_BYTES = 256 * 1024 * 1024

# Linux system call numbers (arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h).
DENIED = {
    "x86_64": (0xC000003E, (41, 42, 49, 50, 57, 58, 59, 101, 322)),
    "aarch64": (0xC00000B7, (198, 200, 201, 203, 117, 221, 281)),
}
"""Audit architecture and the calls refused: socket, connect, bind, listen, fork, execve, ptrace … A pair of connected
sockets reaches nothing outside and stays allowed: libraries wake their threads with one."""


def limit_process(memory_bytes: int) -> None:
    """Set the limits of this process for good. Runs in the child, after its imports."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))


def die_with_parent() -> None:
    """Have the kernel end this process when its parent ends, however that ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def deny_network_and_programs() -> bool:
    """Refuse sockets and new programs by a seccomp filter; False where the kernel or processor has none."""
    denied = DENIED.get(platform.machine())
    libc = ctypes.CDLL(None, use_errno=True)
    if denied is None or libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    program = _filter(*denied)
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    return bool(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.create_string_buffer(header), 0, 0) == 0)


def _filter(architecture: int, numbers: tuple[int, ...]) -> bytes:
    """A classic BPF program (linux/seccomp.h): these calls return EPERM, all others are allowed."""
    load, jump_equal, give = 0x20, 0x15, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000 | 1
    steps = [(load, 0, 0, 4), (jump_equal, 1, 0, architecture), (give, 0, 0, refuse), (load, 0, 0, 0)]
    for index, number in enumerate(numbers):
        steps.append((jump_equal, len(numbers) - index, 0, number))
    steps += [(give, 0, 0, allow), (give, 0, 0, refuse)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)
