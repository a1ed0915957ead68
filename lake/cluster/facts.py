"""What a process that runs the lake's tasks is made of: code, Python, Java, libraries, models.

These functions travel to executors by value, since the lake there is what is in question: only the standard library is
imported here, and ``lake.cluster.code``, which travels too. What cannot be had is a fact as well.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from lake.cluster.code import code_files, code_hash

MISSING = "none: "
"""How a fact begins that could not be had; the reason follows."""

GENERATIONS = 3
"""From a Python worker over its daemon to the executor's JVM."""


def facts() -> dict[str, str]:
    """Facts of this process by name, each one line. Runs on the driver, and on executors by value."""
    found = {name: _tried(look) for name, look in LOOKS.items()}
    try:
        return found | _models()
    except Exception as error:
        return found | {"models": _missing(error)}


def process_name() -> str:
    """``host:process`` of the JVM that this process works for: one for each executor."""
    return f"{socket.gethostname()}:{_jvm() or os.getpid()}"


def _tried(look: Callable[[], str]) -> str:
    try:
        return " ".join(look().split())
    except Exception as error:  # whatever an installation may be hurt by
        return _missing(error)


def _missing(error: Exception) -> str:
    return f"{MISSING}{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _code() -> str:
    files = code_files()
    if not files:
        raise ModuleNotFoundError("no lake here")
    return code_hash(files)[:16]


def _java() -> str:
    """The version of the JVM above, or of the Java that one would be started with."""
    jvm = _jvm()
    home = os.environ.get("JAVA_HOME")
    java = (
        str(Path(f"/proc/{jvm}/exe").resolve()) if jvm else shutil.which("java", path=f"{home}/bin" if home else None)
    )
    if java is None:
        raise FileNotFoundError("no java")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    version = re.search(r'version "([^"]+)"', said.stderr + said.stdout)
    return version[1] if version else said.stderr


def _jvm() -> int | None:
    """The nearest process above this one that is a Java."""
    pid = os.getpid()
    for _generation in range(GENERATIONS):
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            if Path(f"/proc/{pid}/exe").resolve().name == "java":
                return pid
        except (OSError, ValueError):
            return None
    return None


def _opencv() -> str:
    import cv2

    return str(cv2.__version__)


def _ffmpeg() -> str:
    """The libraries of ffmpeg that PyAV carries, which decode audio and video."""
    import av

    libraries = ", ".join(f"{name} {'.'.join(map(str, at))}" for name, at in sorted(av.library_versions.items()))
    return f"PyAV {av.__version__} with {libraries}"


def _pyspark() -> str:
    import pyspark

    return str(pyspark.__version__)


def _pyarrow() -> str:
    import pyarrow

    return str(pyarrow.__version__)


def _models() -> dict[str, str]:
    """The hash of each built-in model, by the analysis that uses it."""
    from lake.analysis.registry import ANALYSES

    asked = {f"model of {name}": each.model_hash for name, each in ANALYSES.items() if each.model_hash is not None}
    return {name: _tried(look)[:16] for name, look in asked.items()}


LOOKS: dict[str, Callable[[], str]] = {
    "code": _code,
    "python": platform.python_version,
    "java": _java,
    "pyspark": _pyspark,
    "pyarrow": _pyarrow,
    "opencv": _opencv,
    "ffmpeg": _ffmpeg,
}
