"""An S3 store that misbehaves or is far away: a proxy on the loopback before a real MinIO."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

from tests.support.minio import MinioServer

HOP = ("transfer-encoding", "connection", "keep-alive")


@dataclass(frozen=True)
class Refusal:
    """What a store says that will not do what it is asked."""

    status: int
    code: str
    methods: tuple[str, ...] = ("PUT", "POST")
    only: str = ""
    """Requests alone whose path has this."""
    after: int = 0
    """So many of them are carried out before."""

    def body(self, path: str) -> bytes:
        said = f"<Code>{self.code}</Code><Message>No.</Message><Resource>{path}</Resource>"
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{said}<RequestId>1</RequestId></Error>'.encode()


@dataclass
class Traffic:
    """What went through, counted."""

    requests: Counter[str] = field(default_factory=Counter)
    """By method."""
    gets: list[tuple[str, int]] = field(default_factory=list)
    """Path, without its query, and bytes of every answer to a GET."""
    listings: int = 0
    """GETs of a bucket, which list what is in it."""
    written_bytes: int = 0
    """Of the bodies of all requests."""
    together: int = 0
    """Requests that are being answered."""
    most_together: int = 0

    def read(self, part: str) -> list[int]:
        """Bytes of each GET whose path has this part."""
        return [size_bytes for path, size_bytes in self.gets if part in path]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    """A client with many connections is not made to wait for the listening."""


@dataclass
class S3Proxy:
    """Forwards requests as they came, but for one fault. Ended with its context."""

    minio: MinioServer
    ignore_conditions: bool = False
    """Take ``If-None-Match`` off every request, as stores do that do not know it."""
    lose_answer_to: int | None = None
    """Carry out the write of this number, counted from 1 since ``count_anew``, and close the line without an answer.

    Writes are PUTs, of objects and of parts, and the POSTs that begin and complete an upload in parts.
    """
    only: str = ""
    """Count the writes alone whose path and query have this."""
    commits_take_s: float = 0.0
    """How long a commit file is under way to the store."""
    refusal: Refusal | None = None
    """Refuse requests in this way."""
    refused: int = 0
    """Requests that came for the refusal, those tried again too."""
    delay_s: float = 0.0
    """What every request waits before it is carried out."""
    traffic: Traffic = field(default_factory=Traffic)
    puts: list[str] = field(default_factory=list)
    """Paths of the writes that came, those tried again too."""
    lost: list[str] = field(default_factory=list)
    """Paths of the writes whose answer was lost."""

    def count_anew(self, lose_answer_to: int | None = None) -> None:
        self.puts, self.lost, self.lose_answer_to = [], [], lose_answer_to
        self.traffic = Traffic()

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def environ(self) -> dict[str, str]:
        """What a command needs in its environment to reach MinIO through this proxy."""
        return {**self.minio.environ(), "AWS_ENDPOINT_URL": self.endpoint_url}

    def __enter__(self) -> S3Proxy:
        self._lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextlib.contextmanager
    def counted(self, method: str) -> Iterator[Traffic]:
        """Count a request for as long as it takes."""
        traffic = self.traffic
        with self._lock:
            traffic.requests[method] += 1
            traffic.together += 1
            traffic.most_together = max(traffic.most_together, traffic.together)
        try:
            yield traffic
        finally:
            with self._lock:
                traffic.together -= 1

    def carried(self, traffic: Traffic, method: str, path: str, asked_bytes: int, answered_bytes: int) -> None:
        """Count what a request and its answer carried."""
        with self._lock:
            traffic.written_bytes += asked_bytes
            if method == "GET":
                traffic.gets.append((path, answered_bytes))
                traffic.listings += path.strip("/").count("/") == 0

    def loses(self, path: str) -> bool:
        """Count a write; whether its answer is to be lost."""
        with self._lock:
            if self.only not in path:
                return False
            self.puts.append(path)
            if len(self.puts) != self.lose_answer_to:
                return False
            self.lost.append(path)
            return True

    def refuses(self, method: str, path: str) -> Refusal | None:
        """The refusal, where a request is one to be refused."""
        with self._lock:
            refusal = self.refusal
            if refusal is None or method not in refusal.methods or refusal.only not in path:
                return None
            self.refused += 1
            return refusal if self.refused > refusal.after else None

    def without_condition(self, method: str, path: str, headers: dict[str, str]) -> dict[str, str]:
        """The headers without the condition. It is signed like the others, so the request is signed anew."""
        from minio.credentials import Credentials
        from minio.signer import sign_v4_s3

        dropped = ("if-none-match", "authorization", "x-amz-date", "host")
        kept = {name: value for name, value in headers.items() if name not in dropped}
        now = datetime.now(UTC)
        address = f"127.0.0.1:{self.minio.port}"
        kept |= {"Host": address, "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ")}
        return sign_v4_s3(
            method=method,
            url=urlsplit(f"http://{address}{path}"),
            region="us-east-1",
            headers=kept,
            credentials=Credentials(access_key=self.minio.access_key, secret_key=self.minio.secret_key),
            content_sha256=headers["x-amz-content-sha256"],
            date=now,
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    owner: S3Proxy

    def _forward(self) -> None:
        with self.owner.counted(self.command) as traffic:
            time.sleep(self.owner.delay_s)
            self._carry_out(traffic)

    def _carry_out(self, traffic: Traffic) -> None:
        body, chunked = self._body()
        headers = {name.lower(): value for name, value in self.headers.items() if name.lower() not in (*HOP, "expect")}
        if self.owner.ignore_conditions and "if-none-match" in headers:
            headers = self.owner.without_condition(self.command, self.path, headers)
        refusal = self.owner.refuses(self.command, self.path)
        if refusal is not None:
            self._answer(refusal.status, refusal.code, [("Content-Type", "application/xml")], refusal.body(self.path))
            return
        writes = self.command == "PUT" or (self.command == "POST" and "upload" in urlsplit(self.path).query)
        loses = writes and self.owner.loses(self.path)
        if self.command == "PUT" and "/_delta_log/" in self.path:
            time.sleep(self.owner.commits_take_s)
        upstream = http.client.HTTPConnection("127.0.0.1", self.owner.minio.port, timeout=60)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                upstream.putheader(name, value)
            if chunked:
                upstream.putheader("Transfer-Encoding", "chunked")
                upstream.endheaders()
                upstream.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n")
            else:
                upstream.endheaders(body)
            answer = upstream.getresponse()
            content = answer.read()
            self.owner.carried(traffic, self.command, urlsplit(self.path).path, len(body), len(content))
        finally:
            upstream.close()
        if loses:
            self.close_connection = True
            return
        self._answer(answer.status, answer.reason, answer.getheaders(), content)

    def _body(self) -> tuple[bytes, bool]:
        """The bytes of a request, and whether they came in chunks without a length, as Arrow's parts do."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0))), False
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers of the chunks; what S3 calls trailers is within them
        return b"".join(chunks), True

    def _answer(self, status: int, reason: str, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status, reason)
        length = str(len(content))
        for name, value in headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value  # of what an answer to HEAD does not carry
            elif name.lower() not in (*HOP, "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _forward

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
