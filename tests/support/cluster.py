"""A Spark standalone cluster: a real master and workers as processes on free ports of the loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pyspark

from tests.support.lakes import ROOT
from tests.support.minio import free_ports

EXECUTOR = "CoarseGrainedExecutorBackend"
PYTHON_WORKERS = "pyspark.daemon"


@dataclass(frozen=True)
class Process:
    """One process as ``/proc`` shows it."""

    pid: int
    parent: int
    command_line: str


class Cluster:
    """One master and some workers of one core each; all of it is ended by process id when the context ends."""

    def __init__(self, folder: Path, workers: int = 2, variables: Sequence[Mapping[str, str]] = ()) -> None:
        """``variables`` are those that each worker has of its own, and its executors by it."""
        self.folder = folder
        self.workers = workers
        self.variables = variables
        self._processes: list[subprocess.Popen[bytes]] = []
        self.port, self._web_port = free_ports(2)

    @property
    def master(self) -> str:
        return f"spark://127.0.0.1:{self.port}"

    def conf(self) -> Path:
        """The shipped settings, with this cluster as where work is done, in small waves."""
        conf = self.folder / "conf"
        if not conf.exists():
            shutil.copytree(ROOT / "conf", conf)
            (conf / "lake.yaml").write_text(
                "engine: spark\n"
                "ingest: {wave_max_arrivals: 60}\n"
                "analysis: {wave_max_recordings: 60}\n"
                "spark:\n"
                f"  slots: {self.workers}\n"
                "  driver_memory: 512m\n"
                "  conf:\n"
                "    spark.driver.host: 127.0.0.1\n"
                "    spark.driver.bindAddress: 127.0.0.1\n"
                "    spark.executor.memory: 512m\n"
            )
            (conf / "profiles" / "local.yaml").write_text(f"spark: {{master: '{self.master}'}}\n")
        return conf

    def descendants(self, word: str) -> list[Process]:
        """Processes that the workers started, directly or not, whose command line has a word."""
        there = {process.pid: process for process in _processes()}
        ours = {process.pid for process in self._processes}
        found = []
        for process in there.values():
            above: Process | None = process
            while above is not None and above.parent not in ours:
                above = there.get(above.parent)
            if above is not None and word in process.command_line:
                found.append(process)
        return found

    def executors(self) -> list[int]:
        """JVMs that run tasks."""
        return [process.pid for process in self.descendants(EXECUTOR) if "java" in process.command_line.split(" ")[0]]

    def python_workers(self) -> list[int]:
        """Forks of the daemons that each executor starts: they run the lake's code."""
        daemons = self.descendants(PYTHON_WORKERS)
        pids = {process.pid for process in daemons}
        return [process.pid for process in daemons if process.parent in pids]

    def __enter__(self) -> Cluster:
        address = ["--host", "127.0.0.1"]
        self._start("master.Master", *address, "--port", str(self.port), "--webui-port", str(self._web_port))
        for number in range(self.workers):
            place = ["--work-dir", str(self.folder / f"worker-{number}"), "--webui-port", "0"]
            own = self.variables[number] if self.variables else {}
            self._start("worker.Worker", *address, "--cores", "1", "--memory", "1g", *place, self.master, **own)
        deadline = time.monotonic() + 90
        while self._alive() < self.workers:
            if time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise RuntimeError(f"the cluster did not start: {(self.folder / 'cluster.log').read_text()[-2000:]}")
            time.sleep(0.2)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        executors = self.executors()
        for process in self._processes:
            process.kill()
            process.wait()
        for pid in executors:
            if any(process.pid == pid and EXECUTOR in process.command_line for process in _processes()):
                os.kill(pid, 9)

    def _start(self, name: str, *arguments: str, **variables: str) -> None:
        home = Path(pyspark.__file__).parent
        environment = {"SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m"}
        with (self.folder / "cluster.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    [str(home / "bin" / "spark-class"), f"org.apache.spark.deploy.{name}", *arguments],
                    env={**os.environ, **environment, **variables},
                    stdout=log,
                    stderr=log,
                )
            )

    def _alive(self) -> int:
        """Workers that the master knows."""
        try:
            return sum(worker["state"] == "ALIVE" for worker in self._told()["workers"])
        except (OSError, ValueError):  # while it starts, the master answers every request with its page
            return 0

    def applications(self) -> dict[str, str]:
        """State of each application that the master had, by its id."""
        told = self._told()
        return {each["id"]: each["state"] for each in [*told["activeapps"], *told["completedapps"]]}

    def _told(self) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._web_port}/json/") as answer:
            return json.loads(answer.read())


def _processes() -> list[Process]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            line = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except (OSError, ValueError):
            continue
        found.append(Process(int(entry.name), parent, line))
    return found
