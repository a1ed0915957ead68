"""A real MinIO as a child process on free ports of the loopback."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from lake.settings import S3Settings, cache_dir

BINARY = cache_dir() / "minio" / "minio"


class MinioServer:
    """One server over one or several folders; ended by its process id when the context ends."""

    def __init__(self, *folders: Path) -> None:
        self.folders = folders
        self.port, self.console_port = free_ports(2)
        self.access_key, self.secret_key = "test", secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def access_key_id(self) -> str:
        return self.access_key

    @property
    def secret_access_key(self) -> str:
        return self.secret_key

    @property
    def settings(self) -> S3Settings:
        return S3Settings.model_validate(
            {
                "endpoint_url": self.endpoint_url,
                "access_key_id": self.access_key,
                "secret_access_key": self.secret_key,
            }
        )

    def environ(self) -> dict[str, str]:
        """What a command needs in its environment to reach this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        if not BINARY.exists():
            raise RuntimeError(f"no MinIO at {BINARY}: run `make minio`")
        for folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [
                *(BINARY, "server", "--quiet", "--address", f"127.0.0.1:{self.port}"),
                *("--console-address", f"127.0.0.1:{self.console_port}", *map(str, self.folders)),
            ],
            env={**os.environ, "MINIO_ROOT_USER": self.access_key, "MINIO_ROOT_PASSWORD": self.secret_key},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.endpoint_url}/minio/health/live"):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"MinIO did not start on port {self.port}")
            time.sleep(0.1)

    def kill(self) -> None:
        """End it as a power failure would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def fresh_bucket(self) -> str:
        """A new bucket with a random name."""
        name = f"test-{secrets.token_hex(6)}"
        self.client.make_bucket(bucket_name=name)
        return name

    @property
    def client(self) -> Any:
        """MinIO's own client."""
        from minio import Minio

        address = f"127.0.0.1:{self.port}"
        return Minio(endpoint=address, access_key=self.access_key, secret_key=self.secret_key, secure=False)

    def __enter__(self) -> MinioServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    with MinioServer(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture
def bucket(minio: MinioServer) -> str:
    return minio.fresh_bucket()
