"""What ``lake submit`` has ``spark-submit`` start: a verb, or a user's script, whose application is told and followed.

    spark-submit … jobs/driver.py VERB [ARGUMENTS]
    spark-submit … jobs/driver.py SCRIPT.py [ARGUMENTS]

Runs as the driver, on the submitting machine or in the cluster. Its exit status is that of the verb or the script.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

POLL_S = 0.1
TELL_EVERY_S = 10.0


def main(arguments: list[str]) -> None:
    """Run one job; a script runs as ``python SCRIPT.py`` would run it."""
    _take_stderr_back()
    _prefer_the_folder()
    threading.Thread(target=_follow, name="lake-follow", daemon=True).start()
    if arguments[0].endswith(".py"):
        signal.signal(signal.SIGTERM, _interrupt)
        sys.argv = arguments
        sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
        runpy.run_path(arguments[0], run_name="__main__")
    else:
        from jobs.cli import main as run_verb

        run_verb(arguments)


def _take_stderr_back() -> None:
    """Spark's ``PythonRunner`` merges stderr into stdout: write to the stderr of its JVM again, our parent.

    Data on stdout stays data, and who reads it is not told of progress. Left as it is where the parent's is no file,
    and where it is one that the JVM does not append to (a container of YARN): each would write over the other.
    """
    if "PYSPARK_GATEWAY_PORT" not in os.environ:
        return
    parent = f"/proc/{os.getppid()}"
    with contextlib.suppress(OSError):
        stderr = os.open(f"{parent}/fd/2", os.O_WRONLY | os.O_APPEND)
        if not stat.S_ISREG(os.fstat(stderr).st_mode) or _flags(f"{parent}/fdinfo/2") & os.O_APPEND:
            os.dup2(stderr, 2)
        os.close(stderr)


def _flags(fdinfo: str) -> int:
    """How an open file was opened, from what ``/proc`` says of it (proc(5))."""
    lines = Path(fdinfo).read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1], 8) for line in lines if line.startswith("flags:")), 0)


def _prefer_the_folder() -> None:
    """Where the packages lie beside this file, take them from there, not from the zip that has the same: the JVM, for
    one, reads files of theirs."""
    root = Path(__file__).resolve().parents[1]
    if (root / "lake" / "__init__.py").exists():
        sys.path.insert(0, str(root))


def _interrupt(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _follow() -> None:
    """Tell the application once Spark has one, and then and now how far its stages are."""
    context = _context()
    while context is None:
        time.sleep(POLL_S)
        context = _context()
    _tell(f"application {context.applicationId} on {context.master}")
    tracker = context.statusTracker()
    while True:
        time.sleep(TELL_EVERY_S)
        with contextlib.suppress(Exception):  # the session was stopped meanwhile
            for stage in map(tracker.getStageInfo, tracker.getActiveStageIds()):
                if stage is not None:
                    _tell(progress_line(stage))


def progress_line(stage: Any) -> str:
    """One stage (``pyspark.SparkStageInfo``) in words."""
    failed = f", {stage.numFailedTasks:,} failed" if stage.numFailedTasks else ""
    return (
        f"stage {stage.stageId} ({stage.name}): {stage.numCompletedTasks:,} of {stage.numTasks:,} tasks, "
        f"{stage.numActiveTasks:,} running{failed}"
    )


def _context() -> Any:
    """The running SparkContext, or None; pyspark is not imported for a job that does without."""
    found = getattr(sys.modules.get("pyspark"), "SparkContext", None)
    context = getattr(found, "_active_spark_context", None)
    # It is known before its JVM side is there.
    return context if getattr(context, "_jsc", None) is not None else None


def _tell(line: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"lake: {line}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1:])
