"""A YARN cluster: a real resource manager and node manager as processes on free ports of the loopback."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any
from xml.sax.saxutils import escape

import psutil

from lake.jvm import resolve
from lake.settings import cache_dir
from tests.support.minio import free_ports

JARS = resolve.read_lock(Path(__file__).with_name("yarn.lock"))
"""Both servers, for the Hadoop that pyspark ships, and what they need beside its JARs; Apache-2.0 and MIT."""
FOLDER = cache_dir() / "yarn"
SERVER = "org.apache.hadoop.yarn.server."
OPENED = tuple(f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in ("lang", "util", "io", "net"))


class Yarn:
    """One resource manager and one node; all of it is ended by process id when the context ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ports = free_ports(5)

    @property
    def conf_dir(self) -> Path:
        """What ``HADOOP_CONF_DIR`` is to be."""
        return self.folder / "hadoop-conf"

    def applications(self) -> dict[str, tuple[str, str]]:
        """State and final status of each application, by its id."""
        told = (self._told("apps")["apps"] or {}).get("app", [])
        return {each["id"]: (each["state"], each["finalStatus"]) for each in told}

    def __enter__(self) -> Yarn:
        resolve.fetch_jars(FOLDER, JARS)
        self._write_conf()
        self._start("resourcemanager.ResourceManager")
        self._start("nodemanager.NodeManager")
        deadline = time.monotonic() + 120
        while self._running() < 1:
            if time.monotonic() > deadline or any(process.poll() is not None for process in self._processes):
                self.__exit__(None, None, None)
                raise RuntimeError(f"YARN did not start: {(self.folder / 'yarn.log').read_text()[-3000:]}")
            time.sleep(0.3)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self._processes:
            # Containers are children of the node manager, in sessions of their own.
            below = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.kill()
            process.wait()
            for child in below:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            psutil.wait_procs(below, timeout=30)

    def _running(self) -> int:
        try:
            return int(self._told("metrics")["clusterMetrics"]["activeNodes"])
        except OSError:
            return 0

    def _told(self, what: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._ports[4]}/ws/v1/cluster/{what}") as answer:
            return json.loads(answer.read())

    def _start(self, name: str) -> None:
        classpath = [self.conf_dir, *(FOLDER / jar.file_name for jar in JARS), resolve.pyspark_folder() / "jars" / "*"]
        environment = {"HADOOP_CONF_DIR": str(self.conf_dir), "JAVA_HOME": _java_home()}
        command = ["java", "-Xmx256m", *OPENED, f"-Dyarn.log.dir={self.folder}", "-cp", ":".join(map(str, classpath))]
        with (self.folder / "yarn.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    [*command, SERVER + name],
                    env={**os.environ, **environment},
                    cwd=self.folder,
                    stdout=log,
                    stderr=log,
                )
            )

    def _write_conf(self) -> None:
        here = "127.0.0.1"
        client, scheduler, tracker, admin, web = (f"{here}:{port}" for port in self._ports)
        settings = {
            "yarn.resourcemanager.hostname": here,
            "yarn.resourcemanager.bind-host": here,
            "yarn.resourcemanager.address": client,
            "yarn.resourcemanager.scheduler.address": scheduler,
            "yarn.resourcemanager.resource-tracker.address": tracker,
            "yarn.resourcemanager.admin.address": admin,
            "yarn.resourcemanager.webapp.address": web,
            "yarn.resourcemanager.scheduler.class": f"{SERVER}resourcemanager.scheduler.fifo.FifoScheduler",
            "yarn.scheduler.minimum-allocation-mb": "128",
            "yarn.nodemanager.hostname": here,
            "yarn.nodemanager.bind-host": here,
            "yarn.nodemanager.address": f"{here}:0",
            "yarn.nodemanager.localizer.address": f"{here}:0",
            "yarn.nodemanager.webapp.address": f"{here}:0",
            "yarn.nodemanager.resource.memory-mb": "4096",
            "yarn.nodemanager.resource.cpu-vcores": "4",
            "yarn.nodemanager.vmem-check-enabled": "false",
            "yarn.nodemanager.local-dirs": str(self.folder / "local"),
            "yarn.nodemanager.log-dirs": str(self.folder / "logs"),
            "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "100",
        }
        for page in ("cluster", "node", "proxy"):  # the JAR has none of the pages, and nobody looks at them here
            (self.conf_dir / "webapps" / page).mkdir(parents=True)
        properties = "".join(
            f"<property><name>{name}</name><value>{escape(value)}</value></property>"
            for name, value in settings.items()
        )
        (self.conf_dir / "yarn-site.xml").write_text(f"<configuration>{properties}</configuration>")


def _java_home() -> str:
    """Containers are started by a script that asks for it."""
    java = shutil.which("java")
    assert java is not None
    return str(Path(java).resolve().parents[1])
