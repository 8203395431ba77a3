"""A proxy in front of an S3 server that spoils some of its answers."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

DENIED = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
GONE = b"<Error><Code>NoSuchKey</Code><Message>no</Message></Error>"


class Proxy(ThreadingHTTPServer):
    """Passes requests on; reads of objects whose path holds `where` are spoiled `left` times.

    Kinds: ``refuse`` (403), ``gone`` (404), ``fail`` (500), ``truncate`` (half of the body), ``flip`` (one bit of it).
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, endpoint):
        self.behind = urlsplit(endpoint).netloc
        self.kind, self.where, self.left = "", "", 0
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def spoil(self, kind, where, times):
        with self.lock:
            self.kind, self.where, self.left = kind, where, times

    def take(self, path):
        """What to do to a read of `path`."""
        with self.lock:
            if self.left < 1 or self.where not in path:
                return ""
            self.left -= 1
            return self.kind

    def handle_error(self, *_):
        """A client that goes away is no event."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        kind = self.server.take(self.path)
        if kind in ("refuse", "gone", "fail"):
            status, body = {"refuse": (403, DENIED), "gone": (404, GONE), "fail": (500, b"")}[kind]
            self._answer(status, [], body)
            return
        behind = http.client.HTTPConnection(self.server.behind, timeout=30)
        try:
            behind.request("GET", self.path, headers=dict(self.headers))
            reply = behind.getresponse()
            body = reply.read()
            headers = [pair for pair in reply.getheaders() if pair[0].lower() not in _HOP]
        finally:
            behind.close()
        if kind == "flip":
            body = body[: len(body) // 2] + bytes([body[len(body) // 2] ^ 1]) + body[len(body) // 2 + 1 :]
        self._answer(reply.status, headers, body, half=kind == "truncate")

    def do_HEAD(self):
        behind = http.client.HTTPConnection(self.server.behind, timeout=30)
        try:
            behind.request("HEAD", self.path, headers=dict(self.headers))
            reply = behind.getresponse()
            self.send_response_only(reply.status)
            for name, value in reply.getheaders():
                if name.lower() not in ("connection", "transfer-encoding"):
                    self.send_header(name, value)
            self.end_headers()
        finally:
            behind.close()

    def _answer(self, status, headers, body, half=False):
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if half else body)
        self.wfile.flush()
        if half:
            self.close_connection = True

    def log_message(self, *_):
        """Stay silent."""


_HOP = ("content-length", "connection", "transfer-encoding")
