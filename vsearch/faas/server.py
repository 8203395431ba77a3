"""The Invoke API over HTTP, plus a few paths of our own to manage functions.

Control requests allow running arbitrary code as this user, so they need a token. Web pages can also send requests to this
machine, under separate host names: requests under a name that is not a loopback name, or from a page of another origin,
are refused.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import msgspec

from vsearch.errors import VsearchError
from vsearch.faas.bodies import BodyError, has_body, own_names, read_body
from vsearch.faas.functions import LARGEST_REQUEST, FunctionSpec, Reply, not_found, not_json, refuse, too_large
from vsearch.faas.platform import Platform

CONTROL_HEADER = "X-Vsearch-Token"
"""Header with the token for control requests."""

_INVOKE = re.compile(r"/2015-03-31/functions/([^/]+)/invocations")
_URL = re.compile(r"/url/([^/]+)(/.*)?")
_ARN = re.compile(r"arn:aws:lambda:[^:]+:[^:]+:function:([A-Za-z0-9_-]+)(?::[^:]+)?")


class Server(ThreadingHTTPServer):
    """A server for a platform on a loopback port.

    Parameters
    ----------
    platform : Platform
    port : int
        0 for any free port.

    Attributes
    ----------
    token : str
        Required by control requests.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, platform: Platform, port: int = 0) -> None:
        self.platform, self.token = platform, secrets.token_urlsafe(24)
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, *_: object) -> None:
        """Ignore clients that disconnect."""

    @property
    def url(self) -> str:
        """The endpoint URL of Lambda for boto3."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def start(self) -> None:
        """Serve in a background thread."""
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True).start()

    def stop(self) -> None:
        """Stop the server and all functions."""
        self.shutdown()
        self.server_close()
        self.platform.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Server

    def do_POST(self) -> None:
        """Invoke a function, or handle one of our own paths."""
        path = urlsplit(self.path).path
        if self._refuses(path):
            return
        body = self._read_body()
        if body is None:
            return
        matched = _INVOKE.fullmatch(path)
        if matched:
            self._reply(self._invoke(unquote(matched[1]), body))
        elif path == "/vsearch/functions":
            self._reply(self._put(body))
        elif path == "/vsearch/evict-idle":
            self._reply(Reply(200, json.dumps({"ended": self.server.platform.evict_idle()}).encode()))
        elif path == "/vsearch/down":
            self._reply(Reply(200, b"{}"))
            threading.Thread(target=self.server.stop).start()
        elif not self._by_url("POST", body):
            self._reply(refuse(404, "ResourceNotFoundException", f"there is no {path}"))

    def do_GET(self) -> None:
        """List functions."""
        path = urlsplit(self.path).path
        if self._refuses(path):
            return
        self.close_connection |= has_body(self.headers)  # the body is not read
        if path == "/vsearch/functions":
            self._reply(Reply(200, json.dumps(self.server.platform.status()).encode()))
        elif not self._by_url("GET", b""):
            self._reply(refuse(404, "ResourceNotFoundException", f"there is no {path}"))

    def do_PATCH(self) -> None:
        """Pass a request on to a function's own URL."""
        if not self._refuses(urlsplit(self.path).path):
            self._pass_on("PATCH")

    def do_DELETE(self) -> None:
        """Remove a function, or pass a request on to a function's own URL."""
        path = urlsplit(self.path).path
        if _URL.fullmatch(path):
            if not self._refuses(path):
                self._pass_on("DELETE")
            return
        if self._refuses("/vsearch/"):
            return
        self.close_connection |= has_body(self.headers)
        name = unquote(path.removeprefix("/vsearch/functions/"))
        self._reply(Reply(204, b"") if self.server.platform.remove(name) else not_found(name))

    def log_message(self, *_: object) -> None:
        """Disable logging."""

    def _read_body(self) -> bytes | None:
        """Read the body of the request; None if it was refused."""
        try:
            return read_body(self.rfile, self.headers, LARGEST_REQUEST + 65536)
        except BodyError as error:
            self.close_connection = True
            refusal = refuse(error.status, "InvalidRequestContentException", str(error))
            self._reply(too_large() if error.status == 413 else refusal)
            return None

    def _pass_on(self, method: str) -> None:
        body = self._read_body()
        if body is not None and not self._by_url(method, body):
            self._reply(refuse(404, "ResourceNotFoundException", f"there is no {urlsplit(self.path).path}"))

    def _refuses(self, path: str) -> bool:
        """Refuse requests from other hosts or origins, and control requests without the token."""
        names = own_names(self.server.server_address[1])
        origin = self.headers.get("origin")
        if self.headers.get_all("host", []) not in [[name] for name in names] or origin not in (
            None,
            *(f"http://{name}" for name in names),
        ):
            text = f"requests must be addressed to {self.server.url}"
        elif path.startswith("/vsearch/") and not self._knows_token():
            text = "control requests need the token that is stored next to the address"
        else:
            return False
        self.close_connection = True  # the body is not read
        self._reply(refuse(403, "AccessDeniedException", text))
        return True

    def _knows_token(self) -> bool:
        return hmac.compare_digest(
            (self.headers.get(CONTROL_HEADER) or "").encode("utf-8", "replace"), self.server.token.encode()
        )

    def _invoke(self, target: str, body: bytes) -> Reply:
        arn = _ARN.fullmatch(target)
        name = arn[1] if arn else target.split(":", maxsplit=1)[0]
        kind = self.headers.get("x-amz-invocation-type") or "RequestResponse"
        if self.server.platform.spec(name) is None:
            return not_found(name)
        if kind == "DryRun":
            return Reply(204, b"")
        try:
            json.loads(body or b"{}")
        except ValueError as error:
            return not_json(str(error))
        if kind == "Event":
            threading.Thread(target=self.server.platform.invoke, args=(name, body), daemon=True).start()
            return Reply(202, b"")
        return self.server.platform.invoke(name, body or b"{}")

    def _put(self, body: bytes) -> Reply:
        try:
            spec = msgspec.json.decode(body, type=FunctionSpec)
            self.server.platform.put(spec)
        except (msgspec.DecodeError, VsearchError) as error:
            return refuse(400, "InvalidParameterValueException", str(error))
        return Reply(201, json.dumps({"FunctionName": spec.name, "FunctionArn": spec.arn}).encode())

    def _by_url(self, method: str, body: bytes) -> bool:
        """Serve /url/<function>/... like the function's own URL; False if the path is not of this form."""
        parts = urlsplit(self.path)
        matched = _URL.fullmatch(parts.path)
        if not matched:
            return False
        event = {
            "version": "2.0",
            "rawPath": matched[2] or "/",
            "rawQueryString": parts.query,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "requestContext": {"http": {"method": method, "path": matched[2] or "/"}, "requestId": str(uuid4())},
            "body": base64.b64encode(body).decode(),
            "isBase64Encoded": True,
        }
        reply = self.server.platform.invoke(unquote(matched[1]), json.dumps(event).encode())
        try:
            answer = json.loads(reply.body)
            status, text = int(answer["statusCode"]), str(answer.get("body", ""))
        except (ValueError, KeyError, TypeError):
            status, text = 502, '{"message":"Internal Server Error"}'
        self._reply(Reply(status, text.encode()))
        return True

    def _reply(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("x-amzn-RequestId", str(uuid4()))
        if reply.status == 200:
            self.send_header("X-Amz-Executed-Version", "$LATEST")
        if reply.error is not None:
            self.send_header("X-Amz-Function-Error", reply.error)
        if reply.kind is not None:
            self.send_header("x-amzn-ErrorType", reply.kind)
        if self.headers.get("x-amz-log-type") == "Tail":
            self.send_header("X-Amz-Log-Result", base64.b64encode(reply.log).decode())
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)
        self.wfile.flush()
