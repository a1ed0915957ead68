"""Several JVMs that race for the same commits through a LogStore, each a process of its own as drivers are."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

import pyspark

from lake.jvm.resolve import jars
from lake.jvm.store_jar import STORE_JAR
from lake.settings import cache_dir

SOURCE = Path(__file__).with_name("Race.java")


@dataclass(frozen=True)
class Answer:
    """What one writer says about one commit."""

    won: bool
    content: str | None
    failure: str | None


class Racers:
    """Writers of one class path and one Hadoop configuration; ended with their context."""

    def __init__(self, folder: Path, writers: int, hadoop: dict[str, str]) -> None:
        self._folder = folder
        self._writers = writers
        self._hadoop = hadoop
        self._processes: list[subprocess.Popen[str]] = []

    def race(self, log_store: str, path: str) -> list[Answer]:
        """Release all writers for one commit at once; their answers in order."""
        for process in self._processes:
            _pipe(process.stdin).write(f"{log_store} {path}\n")
        for process in self._processes:
            _pipe(process.stdin).flush()
        return [self._answer(process) for process in self._processes]

    def _answer(self, process: subprocess.Popen[str]) -> Answer:
        word, _, rest = _pipe(process.stdout).readline().strip().partition(" ")
        if word not in ("won", "lost", "failed"):
            raise RuntimeError(f"a writer ended: {(self._folder / 'writers.log').read_text()[-2000:]}")
        return Answer(word == "won", rest if word == "won" else None, rest if word == "failed" else None)

    def __enter__(self) -> Racers:
        hadoop_jars = Path(pyspark.__file__).parent / "jars" / "*"
        class_path = ":".join(map(str, [self._folder, STORE_JAR, *jars(cache_dir(), s3=True), hadoop_jars]))
        subprocess.run(["javac", "-cp", class_path, "-d", self._folder, SOURCE], check=True)
        with (self._folder / "writers.log").open("w") as log:
            for _ in range(self._writers):
                self._processes.append(
                    subprocess.Popen(
                        ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", class_path, "Race"],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=log,
                        text=True,
                    )
                )
        for process in self._processes:
            # By standard input: a command line shows its secrets to everyone.
            _pipe(process.stdin).write("".join(f"{k}={v}\n" for k, v in self._hadoop.items()) + "\n")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
