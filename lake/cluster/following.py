"""Runs a submission and follows it to its end: what it says is passed on, its application and exit status are known."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from lake.cluster.submission import Submission
from lake.session import HARMLESS

APPLICATION = re.compile(
    r"^lake: application (\S+) on "  # jobs/driver.py
    r"|Submitted application (application_\d+_\d+)"  # YARN's client
    r"|with application ID (spark-[0-9a-f]+)"  # that of Kubernetes
)
CONTAINER = re.compile(r"^\s*container name: (\S+)\s*$")
EXIT_CODE = re.compile(r"^\s*exit code: (\d+)\s*$")
PHASE = re.compile(r"^\s*phase: (\w+)\s*$")
"""How Spark's Kubernetes client tells, as it logs, the state of a driver's pod and the end of its containers; its own
exit status is 0 even when the driver failed."""
DRIVER_CONTAINER = "spark-kubernetes-driver"
SUCCEEDED = "Succeeded"
"""Kubernetes' word for a pod all of whose containers ended with 0."""

ENDED_BY_SIGNAL = 128
PATIENCE_S = 60.0


@dataclass
class Followed:
    """What is known of a job."""

    application_id: str | None = None
    exit_status: int | None = None
    output: str | None = None
    """What it wrote to stdout, where that was kept."""
    exit_codes: dict[str, int] = field(default_factory=dict)
    """Exit codes of the containers of a driver's pod."""
    phase: str | None = None
    """The last state of that pod."""
    _container: str = DRIVER_CONTAINER

    def hear(self, line: str) -> None:
        """Learn from a line of stderr."""
        found = APPLICATION.search(line)
        if found and self.application_id is None:
            self.application_id = next(group for group in found.groups() if group)
        container, code, phase = CONTAINER.match(line), EXIT_CODE.match(line), PHASE.match(line)
        if container:
            self._container = container[1]
        if code:
            self.exit_codes[self._container] = int(code[1])
        if phase:
            self.phase = phase[1]

    @property
    def driver_exit(self) -> int | None:
        """Exit code of a driver in a pod; where a template named its container otherwise, the worst of all.

        None where nothing says that it ended: the pod was deleted or never ran, or Spark's log tells no such thing.
        """
        code = self.exit_codes.get(DRIVER_CONTAINER, max(self.exit_codes.values(), default=0))
        return code if code or DRIVER_CONTAINER in self.exit_codes or self.phase == SUCCEEDED else None


def follow(submission: Submission, tell: Callable[[str], None], *, stdout: int | None = None) -> Followed:
    """Run a submission to its end. Runs on the submitting machine.

    ``tell`` is given each line of stderr. ``stdout`` is where data goes: a file descriptor, None for that of this
    process, ``subprocess.PIPE`` to keep it. On an interrupt the driver is asked to end, so that it records what it did.
    """
    process = subprocess.Popen(  # noqa: S603
        submission.command,
        env={**os.environ, **submission.environment, **submission.keys},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C of a terminal goes to the driver through us, and not to its JVM first
    )
    followed = Followed()
    assert process.stderr is not None  # noqa: S101
    listening = threading.Thread(target=_listen, args=(process.stderr, followed, tell), daemon=True)
    listening.start()
    try:
        if process.stdout is not None:
            followed.output = process.stdout.read()
        process.wait()
    except KeyboardInterrupt:
        _interrupt(process)
        raise
    finally:
        # Something the job left behind may hold the pipe open.
        listening.join(5.0)
    driver_exit = followed.driver_exit if submission.ends_in_pod else 0
    followed.exit_status = exit_status(process.returncode, driver_exit)
    if process.returncode == 0 and driver_exit is None:
        with contextlib.suppress(OSError):
            tell(f"lake: Spark told no end of the driver (last state of its pod: {followed.phase or 'not told'})\n")
    return followed


def exit_status(returned: int, driver_exit: int | None) -> int:
    """The job's exit status from what ``spark-submit`` returned and what was told of the driver's container."""
    if returned < 0:
        return ENDED_BY_SIGNAL - returned
    return returned or (1 if driver_exit is None else driver_exit)


def _listen(lines: Iterable[str], followed: Followed, tell: Callable[[str], None]) -> None:
    for line in lines:
        followed.hear(line)
        if not line.startswith(HARMLESS):
            # Whoever listened may be gone: the job would wait for ever on a pipe that nobody empties.
            with contextlib.suppress(OSError):
                tell(line)


def _interrupt(process: subprocess.Popen[str]) -> None:
    """Ask the driver, and where there is none yet its JVM, to end; a second interrupt, or a minute, ends it."""
    for pid in _drivers(process.pid) or [process.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    try:
        process.wait(PATIENCE_S)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _drivers(jvm: int) -> list[int]:
    """Processes of ``jobs/driver.py`` that a JVM started."""
    import psutil

    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(jvm).children():
            with contextlib.suppress(psutil.Error):
                if any(word.endswith("driver.py") for word in child.cmdline()):
                    found.append(child.pid)
    return found
