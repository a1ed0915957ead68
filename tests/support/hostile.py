"""What hostile recordings do to a decoder, as functions that the sandbox's child offers in tests."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import sys
import time
from typing import Any


def echo(args: dict[str, Any]) -> Any:
    return args["value"]


def leave(args: dict[str, Any]) -> None:
    os._exit(3)


def crash(args: dict[str, Any]) -> None:
    ctypes.string_at(0)


def hang(args: dict[str, Any]) -> None:
    time.sleep(3600)


def spin(args: dict[str, Any]) -> None:
    while True:
        pass


def eat(args: dict[str, Any]) -> int:
    return len(bytearray(10 * 1024**3))


def fill(args: dict[str, Any]) -> int:
    return len(b"x" * args["bytes"])


def flood(args: dict[str, Any]) -> bytes:
    return b"x" * args["bytes"]


def fail(args: dict[str, Any]) -> None:
    raise ValueError("two\nlines")


def give_object(args: dict[str, Any]) -> object:
    return object()


def call_home(args: dict[str, Any]) -> None:
    socket.create_connection(("127.0.0.1", 9), timeout=1)


def run_program(args: dict[str, Any]) -> None:
    subprocess.run(["/bin/true"], check=True)


def babble(args: dict[str, Any]) -> None:
    """Write over the answers, as a decoder may that has lost its memory."""
    said = args["said"]
    os.write(int(sys.argv[2]), struct.pack("<Q", len(said)) + said)


FUNCTIONS = {
    f.__name__: f
    for f in (echo, leave, crash, hang, spin, eat, fill, flood, fail, give_object, call_home, run_program, babble)
}
