"""The seam between what is to be done and where it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

TaskOutput = bytes
TaskFunction = Callable[[bytes], Iterator[TaskOutput]]
"""Runs on an executor, once a task; must pickle (a module-level function or a partial of one). Bytes in are
references, bytes out are references and metadata: never the content of recordings."""
VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
"""The variable by which CUDA's libraries are told what GPUs there are."""


class Engine(Protocol):
    """Runs tasks somewhere and brings their outputs back in any order."""

    name: str
    """``local`` or ``spark``: said in the run record and in messages."""
    slots: int
    """How many tasks run at once."""
    gpu_slots: int
    """How many run at once where each asks for a GPU, or for its share of one; 0: a task cannot ask for any."""

    def run(self, tasks: Sequence[bytes], function: TaskFunction, *, gpu: bool = False) -> Iterator[TaskOutput]:
        """Run every task to its end, exactly one successful attempt each, and yield what they yield.

        Runs on the driver. With ``gpu`` each task waits for a GPU, and sees no other (``VISIBLE_GPUS``).
        A task that dies with its process is tried again a few times; the error of a task that fails again ends the
        run. Outputs of attempts that failed are dropped.
        """
        ...

    def close(self) -> None:
        """End what was started for running tasks."""
        ...
