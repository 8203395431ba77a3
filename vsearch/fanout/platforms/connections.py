"""Persistent HTTP connections, for calls that take only a few milliseconds."""

from __future__ import annotations

import http.client
import io
import os
import socket
import ssl
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import unquote

from vsearch.errors import InputError
from vsearch.fanout.calls.retries import CallError, ErrorKind
from vsearch.forking import renew_in_children
from vsearch.storage.stores.urls import redacted, split_url

BUNDLE = "AWS_CA_BUNDLE"
LOOPBACK = {"localhost", "127.0.0.1", "::1"}

LONGEST = 910.0
"""Default timeout of a call in seconds; functions run for at most 900 s."""


@dataclass(frozen=True)
class Response:
    """The response of a server; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connections:
    """Connections to one server, opened on demand and kept for later calls.

    Parameters
    ----------
    url : str
        ``http://host:port`` or ``https://host``.
    """

    def __init__(self, url: str) -> None:
        parts = split_url(url)
        if "@" in parts.netloc:
            raise InputError("the endpoint must not contain a user name or password; use https://host")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(
                f"the endpoint must be a URL such as https://host or http://127.0.0.1:port, got {redacted(url)!r}"
            )
        self._url, self.host = url, parts.netloc
        self._secure, self._name, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._idle: list[http.client.HTTPConnection] = []
        self._process = os.getpid()
        self._lock = threading.Lock()
        renew_in_children(self)
        self._context = _trusted() if self._secure else None
        self._proxy = find_proxy(parts.scheme, parts.hostname)

    def renew_after_fork(self) -> None:
        """Drop connections of the parent process, since processes that share one would read each other's replies."""
        self._lock, self._process = threading.Lock(), os.getpid()
        self.close()  # closes the child's descriptors; the parent's stay open

    def __getstate__(self) -> str:
        return self._url

    def __setstate__(self, url: str) -> None:
        Connections.__init__(self, url)

    def post(self, path: str, headers: Mapping[str, str], body: bytes, timeout: float | None) -> Response:
        """Send a POST request, and read the complete response.

        Raises
        ------
        CallError
            TIMEOUT if there is no response in time, UNREACHABLE if the server cannot be reached.
        """
        wait = LONGEST if timeout is None else max(0.001, min(timeout, LONGEST))
        until = time.monotonic() + wait
        connection, fresh = self._take(wait)
        while True:
            try:
                response = _exchange(connection, *self._asked(path, headers), body, until)
            except TimeoutError:
                connection.close()
                raise CallError(ErrorKind.TIMEOUT, f"{self.host} did not reply within {wait:.3f} s") from None
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if fresh:
                    raise CallError(ErrorKind.UNREACHABLE, f"{self.host} cannot be reached: {error!r}") from None
                connection, fresh = (
                    self._open(max(0.001, until - time.monotonic())),
                    True,
                )  # the server had closed the kept connection
            else:
                if not connection.sock:
                    return response
                with self._lock:
                    self._idle.append(connection)
                return response

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self, wait: float) -> tuple[http.client.HTTPConnection, bool]:
        if self._process != os.getpid():
            self.renew_after_fork()  # after a fork that bypassed Python's hooks
        with self._lock:
            if self._idle:
                return self._idle.pop(), False
        return self._open(wait), True

    def _open(self, wait: float) -> http.client.HTTPConnection:
        proxy = self._proxy
        name, port = (self._name, self._port) if proxy is None else (proxy.host, proxy.port)
        if self._context is None:
            return http.client.HTTPConnection(name, port, timeout=wait)
        connection = http.client.HTTPSConnection(name, port, timeout=wait, context=self._context)
        if proxy is not None:
            connection.set_tunnel(self._name, self._port, dict(proxy.headers))
        return connection

    def _asked(self, path: str, headers: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
        """Return the path and headers to send: a proxy without a tunnel needs the whole URL."""
        if self._proxy is None or self._secure:
            return path, headers
        return f"http://{self.host}{path}", {"host": self.host, **headers, **self._proxy.headers}


@dataclass(frozen=True)
class Proxy:
    """A proxy, by the environment.

    Attributes
    ----------
    host : str
    port : int
    headers : mapping
        Its authorization.
    """

    host: str
    port: int
    headers: Mapping[str, str]


def find_proxy(scheme: str, host: str) -> Proxy | None:
    """Return the proxy for a host by ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``; none for this machine.

    Raises
    ------
    InputError
        The variable does not hold ``http://[user:password@]host:port``.
    """
    if sys.platform == "linux" and not any(name.lower().endswith("_proxy") for name in os.environ):
        return None  # elsewhere, the system may also name one
    from urllib.request import getproxies, proxy_bypass  # imported late: takes milliseconds of a cold start

    proxies = getproxies()
    url = proxies.get(scheme) or proxies.get("all")
    if not url or host in LOOPBACK or proxy_bypass(host):
        return None
    try:
        parts = split_url(url if "://" in url else f"http://{url}")
        port = parts.port or 80
    except ValueError:
        parts, port = split_url(""), 0
    if parts.scheme != "http" or not parts.hostname or not port:
        raise InputError(f"the proxy for {scheme} must be http://host:port, got {redacted(url)!r}")
    headers = {}
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["proxy-authorization"] = f"Basic {b64encode(user.encode()).decode('ascii')}"
    return Proxy(parts.hostname, port, headers)


def _trusted() -> ssl.SSLContext:
    """Return a context that trusts the certificates of the system, or as AWS's own clients do those of ``AWS_CA_BUNDLE``."""
    file = os.environ.get(BUNDLE) or None
    try:
        return ssl.create_default_context(cafile=file)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"{BUNDLE} must name a file of certificates in PEM, got {file!r:.200}: {error}") from None


class _Reply(http.client.HTTPResponse):
    """A response with a deadline for all of its bytes, since socket timeouts restart with every byte."""

    def __init__(self, sock: socket.socket, *arguments: Any, until: float, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_Source(sock, self.fp, until))


class _Source(io.RawIOBase):
    """The bytes of a socket until a deadline; `file` keeps the socket open."""

    def __init__(self, sock: socket.socket, file: Any, until: float) -> None:
        self._sock, self._file, self._until = sock, file, until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._sock.recv_into(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


def _exchange(
    connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str], body: bytes, until: float
) -> Response:
    if connection.sock is None:
        connection.connect()
    if isinstance(connection.sock, socket.socket):
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sock.settimeout(max(0.001, until - time.monotonic()))
    connection.request("POST", path, body, dict(headers))
    connection.response_class = partial(_Reply, until=until)  # type: ignore[assignment]
    reply = connection.getresponse()
    data = reply.read()
    return Response(reply.status, {name.lower(): value for name, value in reply.getheaders()}, data)
