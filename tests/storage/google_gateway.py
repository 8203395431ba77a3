"""The XML API of Google Cloud Storage in front of an S3 server: what differs between the two, and nothing else.

Google's service cannot run here. Both speak nearly the same API; what the gateway translates is the bearer token,
``x-goog-if-generation-match: 0`` (S3: ``If-None-Match: *``), and that Google says 404 where what is deleted is not there.
"""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

TOKEN = "the-token"
REFUSED = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
MISSING = b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"


class GoogleGateway(ThreadingHTTPServer):
    """Takes `TOKEN` and signs with the keys of an S3 server."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, endpoint, key, secret):
        self.endpoint, self.key, self.secret = endpoint, key, secret
        self.asked: list[tuple[str, str, str | None]] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def ask(self, method, path, query, body, headers):
        """What the server behind answers: status, headers, body."""
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        query = f"?{urlencode(query, quote_via=quote)}" if query else ""
        signed = AWSRequest(method, f"{self.endpoint}{path}{query}", headers, body)
        S3SigV4Auth(Credentials(self.key, self.secret), "s3", "us-east-1").add_auth(signed)
        behind = http.client.HTTPConnection(urlsplit(self.endpoint).netloc, timeout=30)
        try:
            behind.request(method, f"{path}{query}", body, dict(signed.headers))
            reply = behind.getresponse()
            return reply.status, reply.getheaders(), reply.read()
        finally:
            behind.close()

    def handle_error(self, *_):
        """A client that goes away is no event."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        path, query = quote(unquote(parts.path)), parse_qsl(parts.query, keep_blank_values=True)
        generation = self.headers.get("x-goog-if-generation-match")
        self.server.asked.append((self.command, path, generation))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(403, [], REFUSED)
            return
        headers = {name: value for name in ("Range", "Content-Type") if (value := self.headers.get(name))}
        if generation is not None:
            assert generation == "0"
            headers["If-None-Match"] = "*"
        if self.command == "DELETE" and self.server.ask("HEAD", path, query, None, {})[0] == 404:
            self._answer(404, [], MISSING)
            return
        self._answer(*self.server.ask(self.command, path, query, body, headers))

    def _answer(self, status, headers, body):
        self.send_response_only(status)
        head = self.command == "HEAD"
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        length = dict(headers).get("Content-Length", "0") if head else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        if not head:
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815 (names that the server looks for)

    def log_message(self, *_):
        """Stay silent."""
