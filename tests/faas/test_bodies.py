"""Requests whose body does not match their headers, or with another host name: answered immediately, on every port."""

from __future__ import annotations

import io
import socket
from email.message import Message
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch.faas.bodies import BodyError, read_body

INVOKE = "/2015-03-31/functions/echo/invocations"


def raw(port, method, path, headers, body=b"", *, end=True):
    """What a server answers to these bytes; a server that waits for more is a failure."""
    lines = [f"{method} {path} HTTP/1.1", *headers]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        if end:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        while part := connection.recv(65536):
            received += part
    return received


WRONG = {
    "negative": (["content-length: -1"], 400),
    "absent": ([], 411),
    "empty": (["content-length: "], 400),
    "text": (["content-length: ten"], 400),
    "with a sign": (["content-length: +2"], 400),
    "with an underscore": (["content-length: 1_0"], 400),
    "other digits": (["content-length: \u0662"], 400),
    "two": (["content-length: 2", "content-length: 20"], 400),
    "huge": (["content-length: 99999999999"], 413),
    "beyond numbers": (["content-length: " + 30 * "9"], 400),
    "chunks and a length": (["content-length: 2", "transfer-encoding: chunked"], 411),
}


@pytest.mark.parametrize(("headers", "status"), WRONG.values(), ids=WRONG)
def test_a_body_without_a_length_is_refused_at_once(server, headers, status):
    port = urlsplit(server.url).port
    # what follows is not read as a request of its own, and the connection is closed although the client keeps it open
    behind = b"{}GET /vsearch/functions HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
    received = raw(port, "POST", INVOKE, [f"host: 127.0.0.1:{port}", *headers], behind, end=False)
    assert received.startswith(f"HTTP/1.1 {status} ".encode()), received
    assert received.count(b"HTTP/1.1 ") == 1


def test_a_body_that_ends_early(server):
    port = urlsplit(server.url).port
    received = raw(port, "POST", INVOKE, [f"host: 127.0.0.1:{port}", "content-length: 20"], b"{}")
    assert received.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_what_a_request_without_a_body_carries_is_no_other_request(server, method):
    port = urlsplit(server.url).port
    behind = f"GET /else HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n".encode()
    headers = [f"host: 127.0.0.1:{port}", f"x-vsearch-token: {server.token}", f"content-length: {len(behind)}"]
    assert raw(port, method, "/vsearch/functions/none", headers, behind).count(b"HTTP/1.1 ") == 1


@pytest.fixture
def runtime_port(server):
    """The port of an environment's Runtime API."""
    server.platform.invoke("echo", b"{}")
    return server.platform._functions["echo"].idle[0]._server.server_port


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{}", "127.0.0.1", "", None])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_names_from_elsewhere_do_not_reach_a_runtime(runtime_port, host, method):
    headers = ["content-length: 0"] + ([] if host is None else [f"host: {host.format(runtime_port)}"])
    received = raw(runtime_port, method, "/2018-06-01/runtime/init/error", headers)
    assert received.startswith(b"HTTP/1.1 403 ")
    page = [f"host: 127.0.0.1:{runtime_port}", "origin: https://evil.example", "content-length: 0"]
    assert raw(runtime_port, method, "/2018-06-01/runtime/init/error", page).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(("headers", "status"), [case for name, case in WRONG.items() if name != "chunks and a length"])
def test_a_runtime_refuses_bodies_without_a_length(runtime_port, headers, status):
    path = "/2018-06-01/runtime/invocation/none/response"
    received = raw(runtime_port, "POST", path, [f"host: 127.0.0.1:{runtime_port}", *headers], b"{}", end=False)
    assert received.startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize(
    "body", [b"-5\r\n", b"zz\r\n", b"\r\n", b"5\r\nab", b"2\r\nabcd\r\n0\r\n\r\n", b"ffffffff\r\n"]
)
def test_a_runtime_refuses_chunks_that_are_none(runtime_port, body):
    path = "/2018-06-01/runtime/invocation/none/response"
    headers = [f"host: 127.0.0.1:{runtime_port}", "transfer-encoding: chunked"]
    assert raw(runtime_port, "POST", path, headers, body)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 413")


def headers_of(*pairs):
    made = Message()
    for name, value in pairs:
        made[name] = value
    return made


@given(parts=st.lists(st.binary(min_size=1, max_size=50), max_size=5), rest=st.binary(max_size=20))
def test_chunks_are_read_to_their_end(parts, rest):
    sent = b"".join(b"%x;name=value\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n" + rest
    stream, headers = io.BytesIO(sent), headers_of(("transfer-encoding", "Chunked"))
    assert read_body(stream, headers, 1000, chunks=True) == b"".join(parts)
    assert stream.read() == rest
    with pytest.raises(BodyError, match="Content-Length"):
        read_body(stream, headers, 1000)


@given(value=st.text(st.characters(exclude_characters="\r\n"), max_size=30))
def test_any_length(value):
    headers = headers_of(("content-length", value))
    if value.strip().isascii() and value.strip().isdigit() and int(value) <= 50:
        assert len(read_body(io.BytesIO(bytes(100)), headers, 50)) == int(value)
    else:
        with pytest.raises(BodyError) as refused:
            read_body(io.BytesIO(bytes(100)), headers, 50)
        assert refused.value.status in (400, 413)
